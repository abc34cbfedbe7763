"""A task's whole images with all that is drawn on them: annotations, predictions, and a version's held-out masks."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from backend.errors import BadInput, NotFound, UnusableRegion
from backend.ids import shorten_version
from backend.images.connections import Connections
from backend.images.source import open_image
from backend.labelstudio.api.client import NAME_LABEL_STUDIO, LabelStudio
from backend.labelstudio.controls.regions import regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.task_data import ImagePlace, image_at, task_at
from backend.masks.svg import fit_view, outline, resize
from backend.redaction import redact_address
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.reviewed import ReviewedVersions

_LONGEST_PX = 1280
_MOST_LAYERS, _MOST_REGIONS = 8, 500  # of a page; of a layer
_MOST_VERSIONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one annotation or prediction draws: its name, how many regions are drawn, and their SVG path."""

    name: str
    regions: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeImage:
    """One image of a task and its layers, in a view of `width_px` x `height_px`.

    `number` counts the task's images from 1, and `names` names all of them in that order. `learnt` and `held_out` name
    the versions that learnt from this image, and those that were measured on it.
    """

    task_id: int
    number: int
    names: tuple[str, ...]
    width_px: int
    height_px: int
    layers: tuple[Layer, ...]
    learnt: tuple[str, ...]
    held_out: tuple[str, ...]


class WholeImages:
    """Reads them from Label Studio. Thread-safe.

    Args:
        connections: where tasks and images are.
        registry: the versions that learnt from images.
        reviewed: the held-out masks of versions.
        max_pixels: of an image, at most.
    """

    def __init__(
        self, connections: Connections, registry: Registry, reviewed: ReviewedVersions, *, max_pixels: int
    ) -> None:
        self._connections, self._registry, self._reviewed = connections, registry, reviewed
        self._max_pixels = max_pixels

    def find(
        self, project_id: int, task_id: int, *, version: str, number: int | None = None, address: str | None = None
    ) -> WholeImage:
        """Read an image of the task with its layers.

        Args:
            project_id: the project.
            task_id: the task.
            version: whose held-out masks are drawn too, "" for none.
            number: which of the task's images, from 1.
            address: without a number, the image's address as `redact_address` shows it; None, or an address that the
                task has no more, for the first image.

        Raises:
            NotFound: the project has no such task, the task no such image, or no Label Studio is known.
            SamloopError: Label Studio or the image's host refuses us.
        """
        task, shown = self._read_task(project_id, task_id)
        chosen = _choose(shown, number=number, address=address, task_id=task_id)
        task = task_at(task, chosen.place, places=[image.place for image in shown])
        data = self._connections.images(project_id).fetch(chosen.address, task_id=task_id)
        image, digest = self._decode(data), hashlib.sha256(data).hexdigest()
        size = Size(image.height, image.width)
        layers = [*_draw_results(task, size), *self._draw_held_out(version, digest, size)]
        view = _fit(size)
        splits = [
            (manifest.version, manifest.metrics.split)
            for manifest in self._registry.versions(project_id)[-_MOST_VERSIONS:]
            if manifest.metrics.split is not None
        ]
        return WholeImage(
            task_id=task_id,
            number=shown.index(chosen) + 1,
            names=tuple(_name(image.place) for image in shown),
            width_px=view[0],
            height_px=view[1],
            layers=tuple(layers[:_MOST_LAYERS]),
            learnt=tuple(name for name, split in splits if digest in split.learnt),
            held_out=tuple(name for name, split in splits if digest in split.held_out),
        )

    def picture(self, project_id: int, task_id: int, *, number: int) -> bytes:
        """The task's image of this number, from 1, as a WebP of at most 1280 px.

        Raises:
            NotFound, SamloopError: as `find`.
        """
        _, shown = self._read_task(project_id, task_id)
        chosen = _choose(shown, number=number, address=None, task_id=task_id)
        data = self._connections.images(project_id).fetch(chosen.address, task_id=task_id)
        image = self._decode(data).convert("RGB")
        view, file = _fit(Size(image.height, image.width)), io.BytesIO()
        image.resize(view, Image.Resampling.LANCZOS).save(file, "WEBP", quality=90)
        return file.getvalue()

    def _decode(self, data: bytes) -> Image.Image:
        return open_image(data, max_pixels=self._max_pixels)

    def _read_task(self, project_id: int, task_id: int) -> tuple[Mapping[str, object], tuple["_Shown", ...]]:
        """The task, and its images in the order of the labelling config; at least one."""
        studio = self._connections.label_studio(project_id)
        if studio is None:
            raise NotFound(f"task {task_id} cannot be shown: {NAME_LABEL_STUDIO}")
        task = _read_task(studio, project_id, task_id)
        config = parse_label_config(str(studio.project(project_id, is_patient=False).get("label_config")))
        shown = tuple(
            _Shown(place=config.place, address=address)
            for config in config.images(task.get("data"))
            if (address := image_at(task.get("data"), config.image_key)) is not None
        )
        if not shown:
            raise BadInput(f"task {task_id} has no image where the labelling config of project {project_id} reads it")
        return task, shown

    def _draw_held_out(self, version: str, digest: str, size: Size) -> Iterator[Layer]:
        items = [item for item in self._reviewed.objects(version) if item.image_sha256 == digest] if version else []
        for prompt in PROMPTS if items else ():
            masks = [item.drawn[prompt, "candidate"].mask for item in items]
            view = _fit(size)
            path = "".join(
                outline(resize(mask.window(0, 0, height_px=size.height_px, width_px=size.width_px), view))
                for mask in masks[:_MOST_REGIONS]
            )
            how = "from boxes" if prompt == "box" else "from one click"
            yield Layer(name=f"{shorten_version(version)} {how}, held out", regions=len(masks), path=path)


@dataclass(frozen=True, slots=True)
class _Shown:
    """One of a task's images: where regions name it, and its address."""

    place: ImagePlace
    address: str


def _choose(shown: Sequence[_Shown], *, number: int | None, address: str | None, task_id: int) -> _Shown:
    if number is None:
        return next((image for image in shown if redact_address(image.address) == address), shown[0])
    if not 1 <= number <= len(shown):
        raise NotFound(f"task {task_id} has no image {number}: it shows {len(shown)}")
    return shown[number - 1]


def _name(place: ImagePlace) -> str:
    return place.name if place.page is None else f"{place.name}, page {place.page + 1}"


def _read_task(studio: LabelStudio, project_id: int, task_id: int) -> Mapping[str, object]:
    try:
        task = studio.task(task_id)
    except NotFound as fault:
        raise NotFound(f"Label Studio has no task {task_id}, or this key may not see it") from fault
    if task.get("project") != project_id:
        raise NotFound(f"task {task_id} is no task of project {project_id}")
    return task


def _draw_results(task: Mapping[str, object], size: Size) -> Iterator[Layer]:
    """Annotations first, then predictions, the newest first: what batches stored, with the semantic head or without."""
    for kind in ("annotations", "predictions"):
        rows = task.get(kind)
        newest = (
            sorted((row for row in rows if isinstance(row, Mapping)), key=_number) if isinstance(rows, list) else []
        )
        for row in reversed(newest):
            paths = list(_draw_regions(row.get("result"), size))
            if kind == "annotations":
                name = f"annotation {row.get('id')}{' (skipped)' if row.get('was_cancelled') else ''}"
            else:
                name = f"prediction of {shorten_version(str(row.get('model_version') or 'no version')[:60])}"
            yield Layer(name=name, regions=len(paths), path="".join(paths))


def _fit(size: Size) -> tuple[int, int]:
    """Width and height of the view."""
    return fit_view(size.height_px, size.width_px, longest_px=_LONGEST_PX)


def _number(row: Mapping[str, object]) -> int:
    number = row.get("id")
    return number if isinstance(number, int) else 0


def _draw_regions(results: object, size: Size) -> Iterable[str]:
    view = _fit(size)
    for number, region in enumerate(regions_of(results)):
        if number == _MOST_REGIONS:
            return
        try:
            yield outline(resize(region.mask(size), view))
        except UnusableRegion:
            continue  # a keypoint, or what was drawn on another image: there is nothing to outline
