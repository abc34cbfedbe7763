"""Looks up a project's versions and the held-out objects that they were measured on, with the analysts' flags."""

import functools
from collections.abc import Callable

from backend.errors import BadCheckpoint, NotFound
from backend.ids import is_version_of
from backend.registry.checkpoint import REPORT_FILE, Manifest
from backend.registry.image_file import StoredImage, read_images
from backend.registry.protocol import Registry
from backend.registry.review_file import ReviewedObject, read_review
from backend.review.flags import Flag, Flags
from backend.review.masks.cards import Card, cards
from backend.review.visitor import BASE, MasksQuery, Visitor

_OPENED = 16  # versions whose masks stay in memory; a version takes a few MB


class ReviewedVersions:
    """Versions, their objects and their flags. Thread-safe.

    Args:
        registry: the versions and the decisions.
        flags: the analysts' flags.
        served_version: the version that serves a project now.

    Attributes:
        served_version: as given.
    """

    def __init__(self, *, registry: Registry, flags: Flags, served_version: Callable[[int], str]) -> None:
        self._registry, self._flags, self.served_version = registry, flags, served_version
        # A version never changes, so its masks never need to be read again.
        self._review = functools.lru_cache(maxsize=_OPENED)(lambda version: read_review(registry.materialise(version)))
        self._images = functools.lru_cache(maxsize=_OPENED)(lambda version: read_images(registry.materialise(version)))

    def check(self, project_id: int, version: str) -> None:
        """Refuse a version of another project; a version's name holds its project's id.

        Raises:
            NotFound: this project has no such version.
        """
        if not is_version_of(version, project_id):
            raise NotFound(
                f"{version[:120]!r} is not a version of project {project_id}: its page of versions lists them all"
            )
        self._registry.materialise(version)

    def manifest(self, project_id: int, version: str) -> Manifest:
        """Return the manifest of one of the project's versions.

        Raises:
            NotFound: this project has no such version.
            BadCheckpoint: the manifest names another project.
        """
        self.check(project_id, version)
        manifest = self._registry.manifest(version)
        if manifest.project_id != project_id:
            raise BadCheckpoint(f"{version} names project {manifest.project_id} in its manifest")
        return manifest

    def report(self, project_id: int, version: str) -> bytes:
        """Return the page that the training wrote beside the checkpoint.

        Raises:
            NotFound: the project has no such version, or the version has no report.
        """
        self.manifest(project_id, version)
        try:
            return (self._registry.materialise(version) / REPORT_FILE).read_bytes()
        except OSError as fault:
            raise NotFound(f"{version} has no training report") from fault

    def usual_version(self, project_id: int, manifests: tuple[Manifest, ...]) -> str:
        """The version to show where the analyst chose none: the served version, else the latest."""
        served = self.served_version(project_id)
        return served if any(manifest.version == served for manifest in manifests) else manifests[-1].version

    def objects(self, version: str) -> tuple[ReviewedObject, ...]:
        """The version's held-out objects; () where the version was stored without masks."""
        try:
            return self._review(version)
        except NotFound:
            return ()

    def images(self, version: str) -> tuple[StoredImage, ...] | None:
        """The images that the version learnt from or was measured on; None where it was stored without them."""
        try:
            return self._images(version)
        except NotFound:
            return None

    def image(self, project_id: int, version: str, image_sha256: str) -> StoredImage:
        """Return one image of a version.

        Raises:
            NotFound: the project has no such version, or the version has no such image.
        """
        self.check(project_id, version)
        for image in self.images(version) or ():
            if image.image_sha256 == image_sha256:
                return image
        raise NotFound(f"{version[:120]} has no image {image_sha256[:64]!r}")

    def object(self, project_id: int, version: str, key: str) -> ReviewedObject:
        """Return one object of a version.

        Raises:
            NotFound: the project has no such version, or the version has no such object.
        """
        self.check(project_id, version)
        for item in self.objects(version):
            if item.key == key:
                return item
        raise _not_measured(version, key)

    def objects_beside(self, project_id: int, version: str, item: ReviewedObject) -> list[ReviewedObject]:
        """The version's objects on the same image, `item` among them."""
        self.check(project_id, version)
        return [beside for beside in self.objects(version) if beside.image_sha256 == item.image_sha256]

    def flags(self, project_id: int, version: str) -> tuple[Flag, ...]:
        """The analysts' flags of a version's masks."""
        return tuple(flag for flag in self._flags.current(project_id) if flag.version == version)

    def cards(
        self, project_id: int, visitor: Visitor, query: MasksQuery, *, flags: tuple[Flag, ...] = ()
    ) -> list[Card]:
        """Make a card for every object of `query.version`, compared with `query.against`, for `query.prompt`.

        Raises:
            NotFound: the project lacks one of the two versions.
        """
        self.check(project_id, query.version)
        against = None
        if query.against and query.against != BASE:
            self.check(project_id, query.against)
            against = {item.key: item for item in self.objects(query.against)}
        return cards(
            self.objects(query.version), prompt=query.prompt, against=against, flags=flags, analyst=visitor.analyst
        )

    def card(self, project_id: int, visitor: Visitor, key: str, query: MasksQuery) -> Card:
        """Make the card of one object, with its flags.

        Raises:
            NotFound: the project has no such version, or the version was not measured on this object.
        """
        flags = self.flags(project_id, query.version)
        for card in self.cards(project_id, visitor, query, flags=flags):
            if card.item.key == key:
                return card
        raise _not_measured(query.version, key)


def _not_measured(version: str, key: str) -> NotFound:
    return NotFound(f"{version[:120]} was not measured on an object {key[:40]!r}")
