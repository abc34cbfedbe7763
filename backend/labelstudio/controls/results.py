"""Turns masks into the regions and predictions that Label Studio stores."""

import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.labelstudio.label_config import Control, LabelsTag

POLYGON_TOLERANCE_PX = 0.5


def regions_of_mask(  # noqa: PLR0913 - a region has that many fields, all by name
    mask: Bool[np.ndarray, "h w"],
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX,
    region_id: str | None = None,
    is_interactive: bool = False,
) -> list[dict[str, Any]]:
    """Return the regions of one mask, in the shape that `control` draws.

    The shape decides how many regions a mask takes and what gets lost (`write` in controls/shapes). An empty mask gives
    no region, nor does a mask that scores below the control's threshold.

    Every `id` is unique. `meta.model_version` names the model. These two survive into the annotation that a person
    submits; nothing else there tells an interactive mask's origin.

    Args:
        mask: over the upright image.
        control: draws the mask.
        label: the mask's label; None for none. If it is that of a <Labels> tag beside the control, a `labels` result
            with the same id follows every region, as Label Studio stores it.
        score: the expected IoU; cut to [0, 1].
        model_version: the version that made the mask.
        polygon_tolerance_px: how far an outline may be from the mask's, image px. The control's own tolerance goes
            first.
        region_id: the id of the first region; in the editor, the region then replaces the region with this id.
        is_interactive: leaves out the `labels` results, because the editor adds them by itself.
    """
    write = control.shape.write
    if write is None or explain_absence(mask, control=control, score=score) is not None:
        return []
    own = control.polygon_tolerance_px
    values = write(mask, tolerance_px=polygon_tolerance_px if own is None else own)
    more = {"score": score, "model_version": model_version, "height_px": mask.shape[0], "width_px": mask.shape[1]}
    regions = [
        _region(value, control=control, label=label, region_id=None if number else region_id, **more)
        for number, value in enumerate(values)
    ]
    tag = None if is_interactive or control.has_labels else control.labels_tag(label)
    if tag is None:
        return regions
    return [result for region in regions for result in (region, _label_result(region, tag, label=label))]


def explain_absence(mask: Bool[np.ndarray, "h w"], *, control: Control, score: float) -> str | None:
    """Return why a mask gives no region on its control, with the next step; None if nothing speaks against a region.

    A shape may still lose a mask, such as a polygon a mask of a few pixels.
    """
    if not mask.any():
        return (
            "the model sees no object at the prompt: click in the middle of an object, add another click on it, or "
            "draw a box around it"
        )
    if (known := _score(score)) < control.score_threshold:
        return (
            f"the mask scores {known:.3f}, and model_score_threshold of {control.from_name!r} asks for "
            f"{control.score_threshold:g}: add a click, draw a box, or lower the threshold in the labelling interface"
        )
    return None


def _label_result(region: dict[str, Any], tag: LabelsTag, *, label: str | None) -> dict[str, Any]:
    return region | {"from_name": tag.from_name, "type": "labels", "value": region["value"] | {"labels": [label]}}


def prediction(regions: Sequence[dict[str, Any]], *, model_version: str, score: float | None = None) -> dict[str, Any]:
    """Return a prediction. Its score is `score`, or the mean of its regions' scores; 0 without regions."""
    if score is None:
        score = sum(region.get("score", 0.0) for region in regions) / len(regions) if regions else 0.0
    return {"result": list(regions), "score": _score(score), "model_version": model_version}


def _region(  # noqa: PLR0913 - as many as it writes
    value: dict[str, Any],
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    region_id: str | None,
    height_px: int,
    width_px: int,
) -> dict[str, Any]:
    labels = {control.kind: [label]} if label is not None and control.has_labels else {}
    page = {} if control.page is None else {"item_index": control.page}
    return {
        "id": region_id or f"samloop-{uuid.uuid4().hex[:16]}",
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": control.kind,
        "original_width": width_px,
        "original_height": height_px,
        "image_rotation": 0,
        "origin": "prediction",
        "score": _score(score),
        "meta": {"model_version": model_version},
        "value": value | labels,
        **page,
    }


def _score(score: float) -> float:
    """Cut a score to [0, 1]; 0 if it is not finite, because Label Studio would refuse the whole batch for it."""
    return min(max(float(score), 0.0), 1.0) if math.isfinite(score) else 0.0
