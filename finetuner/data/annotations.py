"""Reads objects from Label Studio's tasks. It leaves out what is unusable, and logs and counts the reasons."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from jaxtyping import Bool

from backend.errors import UnusableRegion
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.payloads import Task
from backend.labelstudio.task_data import (
    ImagePlace,
    find_image_key,
    find_image_places,
    image_at,
    read_page,
    task_at,
)
from finetuner.config import Rules
from finetuner.data.annotators import NOT_DRAWN, Annotation, counting_annotations
from finetuner.data.consensus import Drawing, majority
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask

_NO_TASK = "a task that is not a JSON object with an id"


@dataclass(frozen=True, slots=True)
class AnnotatedTask:
    """One image of a task, with the annotations that count: the latest, or one per annotator if they vote."""

    task_id: int | str
    image_uri: str
    annotations: tuple[Annotation, ...] = field(repr=False)
    image_name: str | None = None
    page: int = 0

    @property
    def is_ground_truth(self) -> bool:
        """Whether at least one of the annotations is marked as ground truth."""
        return any(annotation.is_ground_truth for annotation in self.annotations)

    @property
    def is_empty(self) -> bool:
        """Whether all annotations were submitted without a region: the image shows no object."""
        return all(annotation.is_empty for annotation in self.annotations)


def read_task(  # noqa: PLR0913 - all by name
    task: object,
    *,
    image_key: str | None,
    exclusions: Exclusions,
    annotators: str = "latest",
    image_name: str | None = None,
    empty_counts: bool = False,
) -> AnnotatedTask | None:
    """Read one image of a task; None if it has no usable annotation.

    Args:
        task: the task as Label Studio exports it.
        image_key: the path of the image in the task's `data`; None to guess it (`find_image_key`).
        exclusions: collects the reasons for what is left out.
        annotators: as in annotators.counting_annotations.
        image_name: the tag that shows the image; regions on other images of the task do not count.
        empty_counts: as in annotators.counting_annotations.
    """
    if not isinstance(task, Mapping) or not isinstance(task.get("id"), int | str):
        exclusions.add(_NO_TASK, task=None)
        return None
    path, image_name = (image_key, image_name) if image_key is not None else _guess_image(task)
    uri = None if path is None else image_at(task.get("data"), path)
    if uri is None:
        exclusions.add("the task names no image", task=task["id"])
        return None
    annotations = counting_annotations(task, annotators=annotators, exclusions=exclusions, empty_counts=empty_counts)
    return AnnotatedTask(task["id"], uri, annotations, image_name=image_name) if annotations else None


def read_images(
    task: object,
    *,
    config: LabelConfig | None,
    exclusions: Exclusions,
    annotators: str = "latest",
    empty_counts: bool = False,
) -> list[AnnotatedTask]:
    """Read every image of one task with the regions on it; see `read_task`.

    Without `config`, the images are guessed from the regions and the data. An image without a region among several
    counts only if the whole task was submitted empty.
    """
    read = partial(read_task, exclusions=exclusions, annotators=annotators, empty_counts=empty_counts)
    if not isinstance(task, Mapping) or not isinstance(task.get("id"), int | str):
        exclusions.add(_NO_TASK, task=None)
        return []
    drawn = _list_drawn_on(task)
    if config is not None:
        places = [image.place for image in config.images(task.get("data"))]
    else:
        names = list(dict.fromkeys(name for name, _ in drawn if name is not None))
        places = find_image_places(task.get("data"), names=names, pages=[page for _, page in drawn])
    if len(places) < 2 and all(place.page is None for place in places):
        place = places[0] if places else None
        image_name = None if place is None else _find_shown(task, place, names=[name for name, _ in drawn])
        alone = read(task, image_key=None if place is None else place.key, image_name=image_name)
        return [] if alone is None else [alone]
    _exclude_strays(task, places=places, exclusions=exclusions)
    parts = [(place, task_at(task, place, places=places)) for place in places]
    chosen = [(place, part) for place, part in parts if not drawn or _list_drawn_on(part)]
    images = [(place, read(part, image_key=place.key)) for place, part in chosen]
    return [replace(image, page=place.page or 0) for place, image in images if image is not None]


def _find_shown(task: Task, place: ImagePlace, *, names: Sequence[str | None]) -> str | None:
    """Return the name of the tag whose regions are on the only image that the interface shows; None if all are.

    Regions may also be on another image of the data, which the interface showed once. A name that is no key of the data
    may be an old one of the tag, so it says nothing.
    """
    data, shown = task.get("data"), image_at(task.get("data"), place.key)
    at = {name: image_at(data, name) for name in names if name not in (None, place.name)}
    if all(address in (None, shown) for address in at.values()):
        return None
    is_named = place.name in names
    return place.name if is_named else next((name for name in at if at[name] == shown), place.name)


def _list_drawn_on(task: Task) -> list[tuple[str | None, int]]:
    """The image tag and the page of every region in the task's annotations."""
    rows = task.get("annotations")
    results = [row.get("result") for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    regions = [region for result in results for region in regions_of(result) if region.shape is not None]
    return [(region.to_name, read_page(region.json) or 0) for region in regions]


def _exclude_strays(task: Task, *, places: Sequence[ImagePlace], exclusions: Exclusions) -> None:
    """Leave out the regions on an image that the task or the labelling configuration does not have."""
    for name, page in _list_drawn_on(task):
        if not any(place.holds({"to_name": name, "item_index": page}, first=places[0]) for place in places):
            exclusions.add(f"it was drawn on another image of the task, {str(name)[:40]!r}", task=task["id"])


def _guess_image(task: Task) -> tuple[str | None, str | None]:
    """The key of the image with the first region, and its tag's name if regions are on several images."""
    names = list(dict.fromkeys(name for name, _ in _list_drawn_on(task) if name is not None))
    key = find_image_key(task.get("data"), names=names)
    return key, None if len(names) < 2 else key if key in names else names[0]


def objects_of(
    task: AnnotatedTask,
    *,
    height_px: int,
    width_px: int,
    rules: Rules,
    exclusions: Exclusions,
) -> tuple[LabelledMask, ...]:
    """The objects on the upright image of this size; of several annotations, those that the majority drew.

    An annotator without a usable region has no vote.
    """
    drawings = []
    for annotation in task.annotations:
        objects = tuple(
            _read_drawn(
                annotation, task=task, height_px=height_px, width_px=width_px, rules=rules, exclusions=exclusions
            )
        )
        if objects or annotation.is_empty:
            votes = rules.ground_truth_weight if annotation.is_ground_truth else 1
            drawings.append(Drawing(annotator=annotation.annotator, objects=objects, votes=votes))
    if len(drawings) < 2:
        return drawings[0].objects if drawings else ()
    agreed = majority(drawings, min_object_px=rules.min_object_px)
    if agreed.outvoted:
        exclusions.add("most annotators did not draw it", count=agreed.outvoted, task=task.task_id)
    return agreed.objects


def _read_drawn(  # noqa: PLR0913 - all by name
    annotation: Annotation,
    *,
    task: AnnotatedTask,
    height_px: int,
    width_px: int,
    rules: Rules,
    exclusions: Exclusions,
) -> Iterator[LabelledMask]:
    for result in annotation.regions:
        if not isinstance(result, Mapping):
            exclusions.add("a region that is not a JSON object", task=task.task_id, annotation=annotation.annotation_id)
    size = Size(height_px, width_px)
    drawn: set[LabelledMask] = set()
    for region in regions_of(annotation.regions):
        if region.kind in NOT_DRAWN:
            continue
        try:
            _check_image(region, image_name=task.image_name, page=task.page)
            mask = region.mask(size, rectangles_are_masks=rules.rectangles_are_masks)
            label = _label(region, rules=rules)
            _check_area(mask, min_object_px=rules.min_object_px)
            item = LabelledMask.of(mask, label=label)
            _check_new(item, drawn)
        except UnusableRegion as fault:
            exclusions.add(
                fault.reason, task=task.task_id, annotation=annotation.annotation_id, region=region.json.get("id")
            )
        else:
            drawn.add(item)
            yield item


def _check_image(region: Region, *, image_name: str | None, page: int) -> None:
    """Refuse a region that was drawn on another image or page of the task."""
    if image_name is not None and region.to_name not in (None, image_name):
        raise UnusableRegion(f"it was drawn on another image of the task, {str(region.to_name)[:40]!r}")
    if read_page(region.json) not in (None, page):
        raise UnusableRegion("it was drawn on another page of the task")


def _label(region: Region, *, rules: Rules) -> str | None:
    label = region.label
    if label is not None:
        label = rules.other_names.get(label, label)
    if label is not None and rules.labels and label not in rules.labels:
        raise UnusableRegion(f"its label {label[:40]!r} is not in the labelling configuration")
    return label


def _check_area(mask: Bool[np.ndarray, "h w"], *, min_object_px: int) -> None:
    area_px = int(np.count_nonzero(mask))
    if area_px < min_object_px:
        raise UnusableRegion("an empty mask" if not area_px else f"a mask of fewer than {min_object_px} pixels")


def _check_new(item: LabelledMask, drawn: Collection[LabelledMask]) -> None:
    """Refuse an object that stands in the annotation already: pasted over itself, or saved twice."""
    if item in drawn:
        raise UnusableRegion("the same mask with the same label stands twice")
