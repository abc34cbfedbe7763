"""MODEL_DIR names a registry."""

from pathlib import Path

from backend.registry.local import LocalRegistry
from backend.registry.objects.registry import ObjectRegistry
from backend.registry.opening import open_registry
from backend.settings import Settings


def test_a_path_is_a_registry_on_that_disk(tmp_path: Path) -> None:
    registry = open_registry(Settings(model_dir=tmp_path / "models"))
    assert isinstance(registry, LocalRegistry)
    assert registry.root == tmp_path / "models"


def test_an_address_is_a_registry_in_that_store_with_copies_of_its_own(tmp_path: Path) -> None:
    folders = set()
    for url in ("s3://bucket/models", "s3://bucket/others"):
        registry = open_registry(Settings(model_dir=url, cache_dir=tmp_path))
        assert isinstance(registry, ObjectRegistry)
        folders.add(registry.state_dir.root)
    assert len(folders) == 2
    assert all(folder.is_relative_to(tmp_path / "registry") for folder in folders)
