"""Opens the kind of registry that MODEL_DIR names."""

from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.protocol import Registry
from backend.settings.parsing import xdg_folder


def open_registry(model_dir: Path) -> Registry:
    """Return the registry at `model_dir`, without reading it: an unreachable registry shows when it is used."""
    # Not below MODEL_DIR: the memory must be readable while that is not mounted.
    return LocalRegistry(model_dir, memory=xdg_folder("XDG_STATE_HOME", ".local/state") / "registries")
