"""Which kind of registry MODEL_DIR names."""

from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.protocol import Registry
from backend.settings.parsing import xdg_folder


def open_registry(model_dir: Path) -> Registry:
    """The registry at `model_dir`; nothing is read yet, and a registry that is away shows when it is used."""
    # Not below MODEL_DIR: it is to be remembered while that is not mounted.
    return LocalRegistry(model_dir, memory=xdg_folder("XDG_STATE_HOME", ".local/state") / "registries")
