"""Held-out objects as a version stores them, without a training."""

import numpy as np

from backend.masks.packed import KeptMask
from backend.registry.review_file import DrawnMask, ReviewedObject


def draw_square(y: int, x: int, side: int) -> np.ndarray:
    """A mask of an image of 300 x 400 px."""
    mask = np.zeros((300, 400), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def review_object(
    key: str,
    *,
    base: float,
    candidate: float,
    score: float = 0.5,
    drawn: np.ndarray | None = None,
    human_mask: np.ndarray | None = None,
    task_id: int = 1,
    label: str = "Disc",
    image_sha256: str = "a" * 64,
) -> ReviewedObject:
    """A held-out object, a square of 80 px unless `human_mask` says otherwise, with these IoUs of either model."""
    human = KeptMask.of(draw_square(100, 100, 80) if human_mask is None else human_mask)
    masks = {"base": human, "candidate": human if drawn is None else KeptMask.of(drawn)}
    values = {"base": base, "candidate": candidate}
    return ReviewedObject(
        key=key,
        task_id=task_id,
        image_uri="/data/upload/1/a.png",
        image_sha256=image_sha256,
        label=label,
        window=(80, 80, 140, 140),
        human=human,
        drawn={
            (prompt, model): DrawnMask(
                iou=values[model],
                boundary_iou=values[model],
                over_px=0,
                under_px=0,
                score=score,
                predicted_iou=0.9,
                mask=masks[model],
            )
            for prompt in ("box", "point")
            for model in ("base", "candidate")
        },
    )
