"""Routes that need no things and no bodies."""

from __future__ import annotations

from tests.admin.samples import Sample

SAMPLES = {
    name: Sample() for name in ("show_config", "describe", "show_settings", "show_system", "show_health")
}
