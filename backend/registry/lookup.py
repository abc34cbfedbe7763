"""Versions by the names that people type."""

from backend.errors import NotFound
from backend.ids import VersionName
from backend.registry.protocol import Registry


def find_version(registry: Registry, name: str, *, project_id: int) -> str:
    """The long name of a version that pages show as `v3-0a1b2c`; any other name as it is, for the registry to judge.

    Raises:
        NotFound: the project has no such version.
        Unavailable: the registry is away.
    """
    if not VersionName.is_short(name):
        return name
    for manifest in registry.versions(project_id):
        if VersionName.parse(manifest.version).short == name:
            return manifest.version
    raise NotFound(f"project {project_id} has no version {name}; `samloop versions --project {project_id}` lists them")
