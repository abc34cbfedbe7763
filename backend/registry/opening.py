"""Which kind of registry MODEL_DIR names."""

from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.protocol import Registry


def open_registry(model_dir: Path) -> Registry:
    """The registry at `model_dir`; nothing is read yet, and a registry that is away shows when it is used."""
    return LocalRegistry(model_dir)
