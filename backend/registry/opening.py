"""Opens the kind of registry that MODEL_DIR names."""

import hashlib
from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.objects.registry import ObjectRegistry
from backend.registry.protocol import Registry
from backend.settings import Settings
from backend.settings.parsing import xdg_folder


def open_registry(settings: Settings) -> Registry:
    """Return the settings' registry, without reading it: an unreachable registry shows when it is used."""
    model_dir = settings.registry.model_dir
    if isinstance(model_dir, Path):
        # Not below MODEL_DIR: the memory must be readable while that is not mounted.
        return LocalRegistry(model_dir, memory=xdg_folder("XDG_STATE_HOME", ".local/state") / "registries")
    # One machine may serve several stores one after another: what it holds of one says nothing about the next.
    name = hashlib.sha256(model_dir.encode()).hexdigest()[:16]
    return ObjectRegistry(
        model_dir,
        folder=settings.cache.dir / "registry" / name,
        most_bytes=settings.registry.copies_mib << 20,
    )
