"""Finds versions by the names that people type."""

from backend.errors import NotFound
from backend.ids import VersionName
from backend.registry.protocol import Registry


def find_version(registry: Registry, name: str, *, project_id: int) -> str:
    """Return the long name for a short one such as `v3-0a1b2c`, and any other name unchanged.

    Raises:
        NotFound: the project has no version of this short name.
        Unavailable: the registry cannot be read.
    """
    if not VersionName.is_short(name):
        return name
    for manifest in registry.versions(project_id):
        if VersionName.parse(manifest.version).short == name:
            return manifest.version
    raise NotFound(f"project {project_id} has no version {name}; `samloop versions --project {project_id}` lists them")
