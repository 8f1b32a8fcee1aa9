"""Routes that need no things and no bodies."""

from __future__ import annotations

from tests.admin.samples import Sample

SAMPLES = {name: Sample() for name in ("report_usage", "show_config", "describe")}
