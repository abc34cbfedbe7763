"""Renders the pages of images: those of a version's training, and one whole."""

from backend.registry.image_file import StoredImage
from backend.registry.protocol import Registry
from backend.registry.review_file import ReviewedObject
from backend.review.images.learnt import A_PAGE, SIDES, choose_cards, list_cards, list_labels
from backend.review.images.whole import WholeImages
from backend.review.rendering import Renderer
from backend.review.reviewed import ReviewedVersions
from backend.review.visitor import Visitor


class ImagePages:
    """Renders the pages of images. Thread-safe."""

    def __init__(
        self, *, registry: Registry, reviewed: ReviewedVersions, renderer: Renderer, whole: WholeImages
    ) -> None:
        self._registry, self._reviewed, self._renderer, self._whole = registry, reviewed, renderer, whole

    def gallery(  # noqa: PLR0913 - all by name
        self, project_id: int, visitor: Visitor, *, version: str, side: str, label: str, page: int
    ) -> str:
        """Render the images that a version learnt from or was measured on; `version` "": what is served, or the latest.

        Raises:
            NotFound: the project has no such version.
            BadInput: the side is unknown.
        """
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._renderer.render("images.html", project_id, visitor, manifests=())
        chosen = version or self._reviewed.usual_version(project_id, manifests)
        split = self._reviewed.manifest(project_id, chosen).metrics.split
        stored = self._reviewed.images(chosen)
        cards = list_cards(stored or (), split)
        wanted = choose_cards(cards, side=side, label=label)
        first = (page - 1) * A_PAGE
        return self._renderer.render(
            "images.html",
            project_id,
            visitor,
            manifests=manifests,
            chosen=chosen,
            is_stored=stored is not None,
            side=side,
            sides=SIDES,
            label=label,
            labels=list_labels(cards),
            shown=wanted[first : first + A_PAGE],
            total=len(wanted),
            elsewhere=len(set(split.learnt) - {card.image.image_sha256 for card in cards}) if split else 0,
            first=first,
            number=page,
            last_page=-(-len(wanted) // A_PAGE),
        )

    def whole(  # noqa: PLR0913 - all by name
        self, project_id: int, visitor: Visitor, task_id: int, *, version: str, number: int | None, image_sha256: str
    ) -> str:
        """Render a task's image with its annotations, its predictions, and a version's held-out masks.

        Args:
            project_id: the project.
            visitor: who looks.
            task_id: the task.
            version: the version whose masks are drawn; "" for what is served.
            number: which of the task's images, from 1.
            image_sha256: without a number, the image as the version's training knew it; "" for the first.

        Raises:
            NotFound: the project has no such task or version, or the task no such image.
            SamloopError: Label Studio or the image's host refuses us.
        """
        if version:
            self._reviewed.check(project_id, version)
        chosen = version or self._reviewed.served_version(project_id)
        is_ours = any(manifest.version == chosen for manifest in self._registry.versions(project_id))
        address = self._address(chosen, task_id, image_sha256) if is_ours and image_sha256 else None
        image = self._whole.find(project_id, task_id, version=chosen if is_ours else "", number=number, address=address)
        return self._renderer.render("image.html", project_id, visitor, image=image, version=version)

    def _address(self, version: str, task_id: int, image_sha256: str) -> str | None:
        known: tuple[StoredImage | ReviewedObject, ...] = (
            *(self._reviewed.images(version) or ()),
            *self._reviewed.objects(version),
        )
        return next(
            (item.image_uri for item in known if (item.task_id, item.image_sha256) == (task_id, image_sha256)), None
        )

    def picture(self, project_id: int, task_id: int, *, number: int) -> bytes:
        """A task's image of this number, from 1, as a WebP.

        Raises:
            NotFound, SamloopError: as `whole`.
        """
        return self._whole.picture(project_id, task_id, number=number)
