"""YAML to frozen values: every key, its default and its range, and every mistake at once.

Pure: nothing here imports Twisted, and only :func:`load_config` reads a file.
"""

from voidllm.config.catalogue import build_models, global_aliases, join
from voidllm.config.durations import Duration, parse_duration
from voidllm.config.errors import ConfigErrors, Problem
from voidllm.config.load import from_environment, load_config, parse_config
from voidllm.config.models import ModelConfig, Pricing
from voidllm.config.root import Config
from voidllm.config.views import diff_needs_restart

__all__ = [
    "Config",
    "ConfigErrors",
    "Duration",
    "ModelConfig",
    "Pricing",
    "Problem",
    "build_models",
    "diff_needs_restart",
    "from_environment",
    "global_aliases",
    "join",
    "load_config",
    "parse_config",
    "parse_duration",
]
