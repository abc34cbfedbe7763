"""What Label Studio reads back: regions of every kind, and predictions."""

import base64
import io
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from backend.labelstudio.label_config import Control
from backend.labelstudio.rle import encode_mask
from backend.masks.bounds import find_bounds
from backend.masks.fit import ellipse_of_mask, without_specks
from backend.masks.polygons import polygons_of_mask

POLYGON_TOLERANCE_PX = 0.5
_Values = Sequence[dict[str, Any]]


def regions_of_mask(  # noqa: PLR0913 - a region has that many fields, each by its name
    mask: Bool[np.ndarray, "h w"],
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX,
    region_id: str | None = None,
) -> list[dict[str, Any]]:
    """Return the regions of one mask over the upright image, as `control` draws them.

    A brush or a bitmask holds the mask exactly. A polygon control gets one region for each connected part
    (`polygons_of_mask`; the control's own tolerance goes before `polygon_tolerance_px`), an ellipse control the ellipse
    of the mask's area and spread, a rectangle control the box around it, both without specks. An empty mask, and one
    that scores less than the control's threshold, gives none.

    Each `id` is unique; `region_id`, where given, is the first region's, which in Label Studio's editor takes the place
    of the region of that id. `meta.model_version` names the model: both survive to the annotation that is submitted,
    and nothing else that tells an interactive mask's origin does. `score` is cut to [0, 1].
    """
    if not mask.any() or _score(score) < control.score_threshold:
        return []
    own = control.polygon_tolerance_px
    values = _WRITERS[control.shape](mask, polygon_tolerance_px if own is None else own)
    more = {"score": score, "model_version": model_version, "height_px": mask.shape[0], "width_px": mask.shape[1]}
    return [
        _region(value, control=control, label=label, region_id=None if number else region_id, **more)
        for number, value in enumerate(values)
    ]


def brush_region(  # noqa: PLR0913 - a region has that many fields, each by its name
    mask: Bool[np.ndarray, "h w"],
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    region_id: str | None = None,
) -> dict[str, Any]:
    """Return a `brushlabels` region (`brush` without labels), as `regions_of_mask` does; of an empty mask too."""
    height_px, width_px = mask.shape
    return _region(
        _brush(mask, 0.0)[0],
        control=control,
        label=label,
        score=score,
        model_version=model_version,
        region_id=region_id,
        height_px=height_px,
        width_px=width_px,
    )


def prediction(regions: Sequence[dict[str, Any]], *, model_version: str, score: float | None = None) -> dict[str, Any]:
    """Return a prediction; `score` is the mean of its regions' scores unless given, 0 without regions."""
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
    }


def _brush(mask: Bool[np.ndarray, "h w"], _: float) -> _Values:
    return [{"format": "rle", "rle": encode_mask(mask)}]


def _bitmask(mask: Bool[np.ndarray, "h w"], _: float) -> _Values:
    """As the editor's canvas: black and opaque inside, transparent outside; one bit a pixel before compression."""
    picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 0, 0, 0])
    png = io.BytesIO()
    picture.save(png, "PNG", bits=1, transparency=bytes([0, 255]))
    return [{"imageDataURL": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()}]


def _polygon(mask: Bool[np.ndarray, "h w"], tolerance_px: float) -> _Values:
    height_px, width_px = mask.shape
    outlines = polygons_of_mask(mask, tolerance_px=tolerance_px)
    return [{"points": (each * (100 / width_px, 100 / height_px)).tolist(), "closed": True} for each in outlines]


def _ellipse(mask: Bool[np.ndarray, "h w"], _: float) -> _Values:
    height_px, width_px = mask.shape
    ellipse = ellipse_of_mask(without_specks(mask))
    if ellipse is None:
        return []
    # Each radius in per cent of the side that it lies along at rotation 0, however far it is turned.
    return [
        {
            "x": ellipse.center_x_px * 100 / width_px,
            "y": ellipse.center_y_px * 100 / height_px,
            "radiusX": ellipse.radius_x_px * 100 / width_px,
            "radiusY": ellipse.radius_y_px * 100 / height_px,
            "rotation": ellipse.rotation_deg % 360.0,
        }
    ]


def _rectangle(mask: Bool[np.ndarray, "h w"], _: float) -> _Values:
    height_px, width_px = mask.shape
    bounds = find_bounds(without_specks(mask))
    if bounds is None:
        return []
    return [
        {
            "x": bounds.x0_px * 100 / width_px,
            "y": bounds.y0_px * 100 / height_px,
            "width": bounds.width_px * 100 / width_px,
            "height": bounds.height_px * 100 / height_px,
            "rotation": 0,
        }
    ]


_WRITERS: Mapping[str, Callable[[Bool[np.ndarray, "h w"], float], _Values]] = {
    "brush": _brush,
    "bitmask": _bitmask,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "rectangle": _rectangle,
}


def _score(score: float) -> float:
    """In [0, 1]: Label Studio answers 400 for a whole batch where one score is no number."""
    return min(max(float(score), 0.0), 1.0) if math.isfinite(score) else 0.0
