"""Losses by name, each per object and mask, so that the best of several masks can be chosen before the mean."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "n m h w"]
Soft = Float[Tensor, "n h w"]
PerMask = Float[Tensor, "n m"]


def bce(logits: Logits, target: Soft) -> PerMask:
    """Binary cross-entropy with logits, mean over pixels. `target` in [0, 1]: an edge pixel may be half covered."""
    wide = target[:, None].expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean((2, 3))


def dice(logits: Logits, target: Soft) -> PerMask:
    """One minus the soft Dice coefficient, in [0, 1] (Milletari et al. 2016, squares in the denominator).

    With squares a half-covered pixel is fitted best by 0.5, not by 0 or 1. One pixel is added above and below.
    """
    probability, wide = logits.sigmoid(), target[:, None]
    overlap = (probability * wide).sum((2, 3))
    total = probability.square().sum((2, 3)) + wide.square().sum((2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


def focal(logits: Logits, target: Soft) -> PerMask:
    """Focal loss, gamma 2, alpha 0.25, mean over pixels (Lin et al. 2017)."""
    wide = target[:, None].expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wide, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - wide) + (1 - probability) * wide
    alpha = 0.25 * wide + 0.75 * (1 - wide)
    return (alpha * missed.square() * entropy).mean((2, 3))


def structure(logits: Logits, target: Soft) -> PerMask:
    """Cross-entropy and soft IoU in which pixels near an edge weigh up to six times as much (Wei et al. 2020, F3Net).

    A pixel's weight is `1 + 5 |mean of the target over 31 x 31 - target|`: far from every edge it is 1.
    """
    wide = target[:, None]
    near = functional.avg_pool2d(wide, 31, stride=1, padding=15, count_include_pad=False)
    weight = (1 + 5 * (near - wide).abs()).expand_as(logits)
    wide = wide.expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wide, reduction="none")
    probability = logits.sigmoid()
    shared = (probability * wide * weight).sum((2, 3))
    either = ((probability + wide) * weight).sum((2, 3)) - shared
    return (entropy * weight).sum((2, 3)) / weight.sum((2, 3)) + 1 - (shared + 1) / (either + 1)


LOSSES: dict[str, Callable[[Logits, Soft], PerMask]] = {
    "bce": bce,
    "dice": dice,
    "focal": focal,
    "structure": structure,
}


def mask_loss(logits: Logits, target: Soft, *, losses: Sequence[tuple[str, float]]) -> PerMask:
    """The weighted sum of the named losses.

    Raises:
        ValueError: a name that LOSSES does not hold.
    """
    total = torch.zeros(logits.shape[:2], dtype=logits.dtype, device=logits.device)
    for name, weight in losses:
        if name not in LOSSES:
            raise ValueError(f"loss {name!r} is none of {', '.join(LOSSES)}")
        total = total + weight * LOSSES[name](logits, target)
    return total


def hard_iou(logits: Logits, target: Soft) -> PerMask:
    """Intersection over union of `logits > 0` and `target > 0.5`, in [0, 1]; two empty masks give 1. No gradient."""
    with torch.no_grad():
        predicted, truth = logits > 0, (target > 0.5)[:, None]
        inter = (predicted & truth).sum((2, 3)).to(logits.dtype)
        union = (predicted | truth).sum((2, 3)).to(logits.dtype)
        return torch.where(union > 0, inter / union.clamp(min=1), torch.ones_like(inter))


def iou_loss(predicted_iou: PerMask, logits: Logits, target: Soft) -> PerMask:
    """Squared error of the predicted IoU against the IoU that the mask has (SAM's score head)."""
    return (predicted_iou - hard_iou(logits, target)).square()
