"""Regions as annotators submit them, and controls by their kind."""

from typing import Any

import numpy as np

from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.label_config import Control, parse_label_config
from backend.labelstudio.rle import encode_mask


def control_of(label_config: str, kind: str) -> Control:
    """The first control of this kind, such as "brushlabels", in a project's labelling config."""
    return next(control for control in parse_label_config(label_config).controls if control.kind == kind)


def brush_region(
    mask: np.ndarray,
    *,
    control: Control,
    label: str | None,
    score: float,
    model_version: str,
    region_id: str | None = None,
) -> dict[str, Any]:
    """The one region of a brush's mask; of an empty mask too, as an annotator may leave it."""
    (region,) = regions_of_mask(
        mask if mask.any() else np.ones_like(mask),
        control=control,
        label=label,
        score=score,
        model_version=model_version,
        region_id=region_id,
    )
    region["value"]["rle"] = encode_mask(mask)
    return region
