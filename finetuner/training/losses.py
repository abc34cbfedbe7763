"""Losses by name, with one value per object and mask, so that a caller can choose the best mask before the mean.

Frame: the cells of the decoder's grid that the image reaches, rows from the top. `logits` has the shape (n objects, m
masks, rows, columns). `target` (n, rows, columns) is the share of a cell that the object covers, in [0, 1]. Both have
the same float dtype and device; a loss has them too.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "n m h w"]
Soft = Float[Tensor, "n h w"]
PerMask = Float[Tensor, "n m"]


def bce(logits: Logits, target: Soft) -> PerMask:
    """Binary cross-entropy with logits, the mean over cells.

    Args:
        logits: (n, m, h, w) of any range; above 0 means object.
        target: (n, h, w) in [0, 1]; a cell on an edge may be half covered.

    Returns:
        (n, m), at least 0, in nats.
    """
    wide = target[:, None].expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, wide, reduction="none").mean((2, 3))


def dice(logits: Logits, target: Soft) -> PerMask:
    """One minus the soft Dice coefficient, with squares in the denominator (Milletari et al. 2016, V-Net, section 3).

    With squares, 0.5 is the best probability for a half-covered cell, rather than 0 or 1. The fraction has one cell
    added to its numerator and denominator, so that two empty masks have a loss of 0.

    Args:
        logits: (n, m, h, w) of any range; the loss compares their sigmoid.
        target: (n, h, w) in [0, 1].

    Returns:
        (n, m) in [0, 1].
    """
    probability, wide = logits.sigmoid(), target[:, None]
    overlap = (probability * wide).sum((2, 3))
    total = probability.square().sum((2, 3)) + wide.square().sum((2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


def focal(logits: Logits, target: Soft) -> PerMask:
    """Focal loss with gamma 2 and alpha 0.25, the mean over cells (Lin et al. 2017, equation 5).

    SAM's training weights focal and Dice loss 20 to 1 (Kirillov et al. 2023, appendix A, "Losses").

    Args:
        logits: (n, m, h, w) of any range.
        target: (n, h, w) in [0, 1]; a cell between 0 and 1 counts as object and as background in these shares.

    Returns:
        (n, m), at least 0, in nats.
    """
    wide = target[:, None].expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wide, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - wide) + (1 - probability) * wide
    alpha = 0.25 * wide + 0.75 * (1 - wide)
    return (alpha * missed.square() * entropy).mean((2, 3))


def structure(logits: Logits, target: Soft) -> PerMask:
    """Cross-entropy plus soft IoU loss, in which cells near an edge weigh up to six times as much.

    A cell's weight is `1 + 5 |mean of the target over 31 x 31 cells - target|`, which is 1 far from every edge (the
    pixel position aware loss of F3Net, Wei et al. 2020).

    Args:
        logits: (n, m, h, w) of any range.
        target: (n, h, w) in [0, 1].

    Returns:
        (n, m), at least 0: the weighted mean of the cross-entropy, in nats, plus one minus the weighted soft IoU.
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

    Args:
        logits: (n, m, h, w) of any range.
        target: (n, h, w) in [0, 1].
        losses: names from LOSSES with their weights; config.LOSS_MIXES holds the usual combinations.

    Returns:
        (n, m), at least 0 if no weight is negative, in the logits' dtype and on their device.

    Raises:
        ValueError: LOSSES does not have a loss of this name.
    """
    total = torch.zeros(logits.shape[:2], dtype=logits.dtype, device=logits.device)
    for name, weight in losses:
        if name not in LOSSES:
            raise ValueError(f"loss {name!r} is none of {', '.join(LOSSES)}")
        total = total + weight * LOSSES[name](logits, target)
    return total


def hard_iou(logits: Logits, target: Soft) -> PerMask:
    """Intersection over union of `logits > 0` and `target > 0.5`, counted in cells, without a gradient.

    Args:
        logits: (n, m, h, w) of any range.
        target: (n, h, w) in [0, 1].

    Returns:
        (n, m) in [0, 1], in the logits' dtype; two empty masks give 1.
    """
    with torch.no_grad():
        predicted, truth = logits > 0, (target > 0.5)[:, None]
        inter = (predicted & truth).sum((2, 3)).to(logits.dtype)
        union = (predicted | truth).sum((2, 3)).to(logits.dtype)
        return torch.where(union > 0, inter / union.clamp(min=1), torch.ones_like(inter))


def presence_loss(object_scores: Float[Tensor, " n"], target: Soft) -> Float[Tensor, " n"]:
    """The cross-entropy of whether the image shows the object, which trains the object scores of SAM 2 and later.

    Source: Ravi et al. 2024, appendix D.2.2, "Losses", where its weight is that of the IoU loss.

    Args:
        object_scores: (n,) of any range; above 0 means that the object is there.
        target: (n, h, w) in [0, 1]; the object is there if it covers any cell a little.

    Returns:
        (n,), at least 0, in nats.
    """
    is_there = (target > 0).flatten(1).any(1).to(object_scores.dtype)
    return functional.binary_cross_entropy_with_logits(object_scores, is_there, reduction="none")


def iou_loss(predicted_iou: PerMask, logits: Logits, target: Soft) -> PerMask:
    """The squared error of the predicted IoU, which trains SAM's score head.

    Source: Kirillov et al. 2023, appendix A, "Losses" (mean square error).

    Args:
        predicted_iou: (n, m) output of the score head, usually in [0, 1], but it may exceed 1.
        logits: (n, m, h, w) of the same masks; no gradient reaches them.
        target: (n, h, w) in [0, 1].

    Returns:
        (n, m), at least 0.
    """
    return (predicted_iou - hard_iou(logits, target)).square()
