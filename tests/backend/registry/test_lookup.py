"""People type what pages show: the short name of a version."""

from pathlib import Path

import pytest

from backend.errors import NotFound
from backend.ids import VersionName
from backend.registry.checkpoint import Manifest
from backend.registry.local import LocalRegistry
from backend.registry.lookup import find_version


def test_a_short_name_is_looked_up_in_its_project_alone(tmp_path: Path, manifest: Manifest) -> None:
    registry = LocalRegistry(tmp_path)
    versions = [registry.publish(1, weights=data, manifest=manifest).version for data in (b"a", b"b")]
    assert [find_version(registry, VersionName.parse(version).short, project_id=1) for version in versions] == versions
    with pytest.raises(NotFound, match="project 2 has no version v1-"):
        find_version(registry, VersionName.parse(versions[0]).short, project_id=2)


@pytest.mark.parametrize("name", ["mobile-sam-p1-v3-0a1b2c", "../../etc/passwd", "", "v3"])
def test_any_other_name_is_the_registrys_to_judge(tmp_path: Path, name: str) -> None:
    assert find_version(LocalRegistry(tmp_path), name, project_id=1) == name
