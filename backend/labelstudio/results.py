"""What Label Studio reads back: brush regions and predictions."""

import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.labelstudio.label_config import Control
from backend.labelstudio.rle import encode_mask


def brush_region(  # noqa: PLR0913 - a region has that many fields, each by its name
    mask: Bool[np.ndarray, "h w"],
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    region_id: str | None = None,
) -> dict[str, Any]:
    """Return a `brushlabels` region (`brush` without labels) over the upright image.

    Its `id` is unique unless given, and `meta.model_version` names the model: both survive to the annotation that the
    annotator submits, and nothing else that tells an interactive mask's origin does. `score` is cut to [0, 1].
    """
    height_px, width_px = mask.shape
    value: dict[str, Any] = {"format": "rle", "rle": encode_mask(mask)}
    if label is not None and control.kind.endswith("labels"):
        value[control.kind] = [label]
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
        "value": value,
    }


def prediction(regions: Sequence[dict[str, Any]], *, model_version: str, score: float | None = None) -> dict[str, Any]:
    """Return a prediction; `score` is the mean of its regions' scores unless given, 0 without regions."""
    if score is None:
        score = sum(region.get("score", 0.0) for region in regions) / len(regions) if regions else 0.0
    return {"result": list(regions), "score": _score(score), "model_version": model_version}


def _score(score: float) -> float:
    """In [0, 1]: Label Studio answers 400 for a whole batch where one score is no number."""
    return min(max(float(score), 0.0), 1.0) if math.isfinite(score) else 0.0
