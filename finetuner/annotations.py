"""Label Studio's tasks to objects. What cannot be learnt from is left out, its reason logged and counted."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.labelstudio.regions import UnusableRegion, mask_of_region
from finetuner.objects import LabelledMask

log = logging.getLogger(__name__)

_EXAMPLES = 5
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_NOT_DRAWN = frozenset({"labels", "choices", "textarea", "rating", "number", "taxonomy"})


class Exclusions:
    """What was left out: a count for each reason, and the first few places, for the manifest."""

    def __init__(self) -> None:
        self._places: dict[str, list[dict[str, Any]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, reason: str, **place: object) -> None:
        """Leave something out. `place`: the ids of `task`, `annotation`, `region`, and what else tells of this one."""
        known = {key: value for key, value in place.items() if isinstance(value, int | str)}
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if len(kept := self._places.setdefault(reason, [])) < _EXAMPLES:
            kept.append(known)
        log.info("left out: %s (%s)", reason, known, extra={"event": "annotation.excluded", "reason": reason, **known})

    def __len__(self) -> int:
        return sum(self._counts.values())

    def to_json(self) -> tuple[Mapping[str, Any], ...]:
        """`{"reason", "count", "examples"}`, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))
        return tuple({"reason": reason, "count": count, "examples": self._places[reason]} for reason, count in ordered)

    def sentence(self) -> str:
        """The three most frequent reasons, for a person, and what the first place of each tells."""
        shown = [
            f"{each['count']} x {each['reason']}"
            + "".join(f" ({told['why']})" for told in each["examples"][:1] if "why" in told)
            for each in self.to_json()[:3]
        ]
        return "; ".join(shown) if shown else "nothing was left out"


@dataclass(frozen=True, slots=True)
class AnnotatedTask:
    """The annotation of a task that counts: the latest submitted one. `regions` are its result as it stands."""

    task_id: int | str
    image_uri: str
    annotation_id: object
    regions: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which regions are objects. `labels`: those of the labelling configuration; empty, every label will do."""

    labels: frozenset[str] = frozenset()
    rectangles_are_masks: bool = False
    min_object_px: int = 2


def annotated_task(task: object, *, image_key: str | None, exclusions: Exclusions) -> AnnotatedTask | None:
    """Read one task; None if there is nothing in it to learn from.

    `image_key` names the image in the task's `data`; None: the first value there that looks like an image.
    """
    if not isinstance(task, Mapping) or not isinstance(task.get("id"), int | str):
        exclusions.add("a task that is no object with an id", task=None)
        return None
    uri = _image_uri(task.get("data"), image_key=image_key)
    if uri is None:
        exclusions.add("the task names no image", task=task["id"])
        return None
    annotation = _latest(task, exclusions=exclusions)
    if annotation is None:
        return None
    return AnnotatedTask(task["id"], uri, annotation.get("id"), tuple(annotation["result"]))


def objects_of(
    task: AnnotatedTask,
    *,
    height_px: int,
    width_px: int,
    rules: Rules,
    exclusions: Exclusions,
) -> Iterator[LabelledMask]:
    """Yield every mask of the annotation on its upright image of this size."""
    named = _labels_by_region(task.regions)
    for region in task.regions:
        if isinstance(region, Mapping) and region.get("type") in _NOT_DRAWN:
            continue  # says something of the image or of another region; draws nothing itself
        place = region.get("id") if isinstance(region, Mapping) else None
        try:
            label = _label(region, named=named, labels=rules.labels)
            mask = mask_of_region(
                region, height_px=height_px, width_px=width_px, rectangles_are_masks=rules.rectangles_are_masks
            )
            _check_area(mask, min_object_px=rules.min_object_px)
        except UnusableRegion as fault:
            exclusions.add(fault.reason, task=task.task_id, annotation=task.annotation_id, region=place)
        else:
            yield LabelledMask.of(mask, label=label)


def _image_uri(data: object, *, image_key: str | None) -> str | None:
    if not isinstance(data, Mapping):
        return None
    if image_key is not None:
        uri = data.get(image_key)
        return uri if isinstance(uri, str) and uri else None
    texts = [value for value in data.values() if isinstance(value, str)]
    return next((text for text in texts if text.lower().split("?d=")[-1].split("?")[0].endswith(_IMAGE_ENDINGS)), None)


def _latest(task: Mapping[str, Any], *, exclusions: Exclusions) -> Mapping[str, Any] | None:
    """The submitted annotation that was changed last, if it holds any region."""
    given = task.get("annotations")
    annotations = [each for each in given if isinstance(each, Mapping)] if isinstance(given, Sequence) else []
    submitted = []
    for each in annotations:
        if each.get("was_cancelled"):
            exclusions.add("the annotator skipped the task", task=task["id"], annotation=each.get("id"))
        else:
            submitted.append(each)
    if not annotations:
        exclusions.add("only a draft" if task.get("drafts") else "no annotation yet", task=task["id"])
    if not submitted:
        return None
    # ISO 8601 in UTC sorts as text; ids settle what an import has written in one instant.
    ordered = sorted(submitted, key=lambda each: (str(each.get("updated_at") or ""), str(each.get("id")).zfill(20)))
    for older in ordered[:-1]:
        exclusions.add("a later annotation of the same task counts", task=task["id"], annotation=older.get("id"))
    latest: Mapping[str, Any] = ordered[-1]
    if not isinstance(latest.get("result"), list) or not latest["result"]:
        exclusions.add("an annotation without any region", task=task["id"], annotation=latest.get("id"))
        return None
    return latest


def _labels_by_region(regions: Sequence[Any]) -> dict[object, str]:
    """Labels that stand in a region of their own (a `Labels` tag beside a `Brush`), by the id that both share."""
    found: dict[object, str] = {}
    for region in regions:
        if not isinstance(region, Mapping) or region.get("type") != "labels":
            continue
        if (label := _first_label(region)) and isinstance(region.get("id"), str):
            found.setdefault(region["id"], label)
    return found


def _label(region: object, *, named: Mapping[object, str], labels: frozenset[str]) -> str | None:
    if not isinstance(region, Mapping):
        raise UnusableRegion("a region that is no object")
    place = region.get("id")
    label = _first_label(region) or (named.get(place) if isinstance(place, str) else None)
    if label is not None and labels and label not in labels:
        raise UnusableRegion(f"its label {label[:40]!r} is not in the labelling configuration")
    return label


def _first_label(region: Mapping[str, Any]) -> str | None:
    value = region.get("value")
    given = value.get(str(region.get("type"))) if isinstance(value, Mapping) else None
    return given[0] if isinstance(given, list) and given and isinstance(given[0], str) else None


def _check_area(mask: Bool[np.ndarray, "h w"], *, min_object_px: int) -> None:
    area_px = int(np.count_nonzero(mask))
    if area_px < min_object_px:
        raise UnusableRegion("an empty mask" if not area_px else f"a mask of less than {min_object_px} pixels")
