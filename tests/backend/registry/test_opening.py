"""MODEL_DIR names a registry."""

from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.opening import open_registry


def test_a_path_is_a_registry_on_that_disk(tmp_path: Path) -> None:
    registry = open_registry(tmp_path / "models")
    assert isinstance(registry, LocalRegistry)
    assert registry.root == tmp_path / "models"
