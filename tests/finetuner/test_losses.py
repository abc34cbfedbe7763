"""Losses against values worked out by hand."""

import math

import pytest
import torch

from finetuner.losses import bce, dice, focal, hard_iou, iou_loss, mask_loss

LOGITS = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]]]])
TARGET = torch.tensor([[[1.0, 0.0], [0.5, 0.0]]])


def test_cross_entropy_of_an_undecided_mask_is_log_2() -> None:
    assert bce(LOGITS, TARGET).item() == pytest.approx(math.log(2))


def test_dice_by_hand() -> None:
    # overlap .5 * 1.5 = .75; squares 4 * .25 + 1.25 = 2.25
    assert dice(LOGITS, TARGET).item() == pytest.approx(1 - (2 * 0.75 + 1) / (2.25 + 1))


def test_a_perfect_soft_mask_has_no_dice_loss() -> None:
    soft = torch.tensor([[[0.9, 0.5], [0.25, 0.1]]])
    assert dice(torch.logit(soft)[:, None], soft).item() == pytest.approx(0, abs=1e-6)


def test_focal_by_hand() -> None:
    hard = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    # every pixel: missed .5, entropy log 2; one of weight .25, three of .75
    assert focal(LOGITS, hard).item() == pytest.approx(0.25 * math.log(2) * (0.25 + 3 * 0.75) / 4)


def test_losses_add_up_by_their_weights() -> None:
    expected = 2 * bce(LOGITS, TARGET) + 0.5 * dice(LOGITS, TARGET)
    assert mask_loss(LOGITS, TARGET, losses=(("bce", 2.0), ("dice", 0.5))).item() == pytest.approx(expected.item())


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(ValueError, match="'lovasz' is none of bce, dice, focal"):
        mask_loss(LOGITS, TARGET, losses=(("lovasz", 1.0),))


def test_the_score_learns_the_iou_that_the_mask_has() -> None:
    logits = torch.tensor([[[[5.0, 5.0], [-5.0, -5.0]], [[-5.0, -5.0], [-5.0, -5.0]]]])
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert hard_iou(logits, target).tolist() == [[0.5, 0.0]]
    assert iou_loss(torch.tensor([[0.75, 0.5]]), logits, target).tolist() == [[0.0625, 0.25]]
    assert hard_iou(logits[:, 1:], torch.zeros(1, 2, 2)).tolist() == [[1.0]]
