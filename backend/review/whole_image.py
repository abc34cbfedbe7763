"""A task's whole image with all that is drawn on it: annotations, predictions, and a version's held-out masks."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
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
from backend.labelstudio.task_data import image_at, task_at
from backend.masks.svg import outline, resize
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.masks.crops import fit_size
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
    """A task's image and its layers, in a view of `width_px` x `height_px`.

    `learnt` and `held_out` name the versions that learnt from this image, and those that were measured on it.
    """

    task_id: int
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

    def find(self, project_id: int, task_id: int, *, version: str) -> WholeImage:
        """Read the task with its layers; `version`: whose held-out masks are drawn too, "" for none.

        Raises:
            NotFound: the project has no such task, or no Label Studio is known.
            SamloopError: Label Studio or the image's host refuses us.
        """
        task, data = self._read(project_id, task_id)
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
            width_px=view[0],
            height_px=view[1],
            layers=tuple(layers[:_MOST_LAYERS]),
            learnt=tuple(name for name, split in splits if digest in split.learnt),
            held_out=tuple(name for name, split in splits if digest in split.held_out),
        )

    def picture(self, project_id: int, task_id: int) -> bytes:
        """The task's image as a WebP of at most 1280 px.

        Raises:
            NotFound, SamloopError: as `find`.
        """
        _, data = self._read(project_id, task_id)
        image = self._decode(data).convert("RGB")
        view, file = _fit(Size(image.height, image.width)), io.BytesIO()
        image.resize(view, Image.Resampling.LANCZOS).save(file, "WEBP", quality=90)
        return file.getvalue()

    def _decode(self, data: bytes) -> Image.Image:
        return open_image(data, max_pixels=self._max_pixels)

    def _read(self, project_id: int, task_id: int) -> tuple[Mapping[str, object], bytes]:
        """The task with what stands on its first image, and that image's bytes."""
        studio = self._connections.label_studio(project_id)
        if studio is None:
            raise NotFound(f"task {task_id} cannot be shown: {NAME_LABEL_STUDIO}")
        task = _read_task(studio, project_id, task_id)
        config = parse_label_config(str(studio.project(project_id, is_patient=False).get("label_config")))
        configs = config.images(task.get("data"))
        address, place = next(
            (
                (address, config.place)
                for config in configs
                if (address := image_at(task.get("data"), config.image_key)) is not None
            ),
            (None, None),
        )
        if address is None or place is None:
            raise BadInput(f"task {task_id} has no image where the labelling config of project {project_id} reads it")
        drawn = task_at(task, place, places=[config.place for config in configs])
        return drawn, self._connections.images(project_id).fetch(address, task_id=task_id)

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
    return fit_size((0, 0, size.height_px, size.width_px), longest_px=_LONGEST_PX)


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
