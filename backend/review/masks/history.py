"""One object in all versions that were measured on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.registry.checkpoint import Manifest
from backend.registry.review_file import DrawnMask, ReviewedObject

_NEWEST = 12  # versions that are looked through: a few MB a version


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOfVersion:
    """What one model drew of the object with one prompt. `version`: None for the base model."""

    version: str | None
    drawn: DrawnMask


def trace_object(
    key: str,
    manifests: Sequence[Manifest],
    *,
    prompt: str,
    objects: Callable[[str], Sequence[ReviewedObject]],
) -> tuple[ObjectOfVersion, ...]:
    """Follow an object from the base model through the versions, the oldest first.

    Args:
        key: the object's.
        manifests: the project's versions, the oldest first; the newest twelve are looked through.
        prompt: "box" or "point".
        objects: the held-out objects of a version.

    Returns:
        The base model as the newest version was compared with it, then every version that was measured on the object.
    """
    found: list[ObjectOfVersion] = []
    base = None
    for manifest in manifests[-_NEWEST:]:
        item = next((item for item in objects(manifest.version) if item.key == key), None)
        if item is not None:
            base = item.drawn[prompt, "base"]
            found.append(ObjectOfVersion(version=manifest.version, drawn=item.drawn[prompt, "candidate"]))
    return (*([] if base is None else [ObjectOfVersion(version=None, drawn=base)]), *found)
