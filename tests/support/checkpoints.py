"""Manifests for checkpoints that a test publishes, with valid defaults for all other values."""

from typing import Any

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import CheckpointMetrics, Recipe, Verdict


def make_manifest(**facts: Any) -> Manifest:
    """Return a manifest of an unpublished decoder without a project; `facts` replace the defaults."""
    usual = {
        "version": "",
        "project_id": None,
        "base_model": "mobile-sam",
        "base_fingerprint": "f" * 64,
        "method": "decoder",
        "parent": None,
        "data_digest": "0" * 64,
        "config": Recipe(),
        "metrics": CheckpointMetrics(),
        "verdict": Verdict(),
        "excluded": (),
        "created_at": "2026-11-23T00:00:00+00:00",
        "code_version": "0.1.0",
    }
    return Manifest(**(usual | facts))
