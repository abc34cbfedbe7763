"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from backend.masks.prompt import Box, Prompt
from backend.sam.family import Decoded
from finetuner.config import LOSS_MIXES, TrainConfig
from finetuner.training.losses import bce, dice, focal, hard_iou, iou_loss, mask_loss, presence_loss, structure
from finetuner.training.rounds import decode_losses

pytestmark = pytest.mark.arithmetic

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


@pytest.mark.parametrize(("covered", "loss"), [(0.01, math.log1p(math.exp(-2))), (0.0, math.log1p(math.exp(2)))])
def test_an_object_score_learns_whether_any_cell_shows_the_object(covered: float, loss: float) -> None:
    target = torch.zeros(1, 2, 2)
    target[0, 1, 1] = covered
    assert presence_loss(torch.tensor([2.0]), target).item() == pytest.approx(loss)


def test_losses_add_up_by_their_weights() -> None:
    expected = 2 * bce(LOGITS, TARGET) + 0.5 * dice(LOGITS, TARGET)
    assert mask_loss(LOGITS, TARGET, losses=(("bce", 2.0), ("dice", 0.5))).item() == pytest.approx(expected.item())


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(ValueError, match="'lovasz' is none of bce, dice, focal, structure"):
        mask_loss(LOGITS, TARGET, losses=(("lovasz", 1.0),))


def test_the_score_learns_the_iou_that_the_mask_has() -> None:
    logits = torch.tensor([[[[5.0, 5.0], [-5.0, -5.0]], [[-5.0, -5.0], [-5.0, -5.0]]]])
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert hard_iou(logits, target).tolist() == [[0.5, 0.0]]
    assert iou_loss(torch.tensor([[0.75, 0.5]]), logits, target).tolist() == [[0.0625, 0.25]]
    assert hard_iou(logits[:, 1:], torch.zeros(1, 2, 2)).tolist() == [[1.0]]


def test_structure_weighs_pixels_near_an_edge_more() -> None:
    """Against the formula of F3Net's own loss, written out pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 40, 36, generator=generator)
    target = torch.zeros(1, 40, 36)
    target[:, 8:20, 10:30] = 1
    truth = target[0].numpy()
    weight = np.empty_like(truth)
    for y, x in np.ndindex(*truth.shape):
        around = truth[max(0, y - 15) : y + 16, max(0, x - 15) : x + 16]
        weight[y, x] = 1 + 5 * abs(around.mean() - truth[y, x])
    for number, found in enumerate(structure(logits, target)[0].tolist()):
        p = 1 / (1 + np.exp(-logits[0, number].double().numpy()))
        entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p))
        shared, total = (p * truth * weight).sum(), ((p + truth) * weight).sum()
        expected = (entropy * weight).sum() / weight.sum() + 1 - (shared + 1) / (total - shared + 1)
        assert found == pytest.approx(expected, rel=1e-4)
    edge, middle = logits.clone(), logits.clone()
    edge[..., 9, 20], middle[..., 39, 0] = -9.0, 9.0  # one pixel wrong, inside near the edge, or far outside
    assert (structure(edge, target) - structure(logits, target)).min() > 0


@pytest.mark.parametrize("name", sorted(LOSS_MIXES))
def test_every_named_mix_is_least_for_the_truth(name: str) -> None:
    target = torch.zeros(1, 32, 32)
    target[:, 8:20, 8:24] = 1
    truth = ((target * 2 - 1) * 12)[:, None]
    worse = [truth.roll(shift, dims=3) for shift in (1, 3, 6)]
    values = [mask_loss(logits, target, losses=LOSS_MIXES[name]).item() for logits in (truth, *worse)]
    assert values == sorted(values)
    assert values[0] < 0.01 < values[1]


def test_an_object_that_is_on_no_cell_of_the_grid_teaches_no_score() -> None:
    """Else an empty mask would be taught to be a perfect one. Its share of a cell still teaches the mask."""
    logits, scores = torch.full((2, 4, 3, 3), -9.0), torch.full((2, 4), 0.25, requires_grad=True)
    target = torch.zeros(2, 3, 3)
    target[0, 1, 1], target[1, 1, 1] = 0.2, 0.9
    box = (Prompt(box=Box(0.0, 0.0, 9.0, 9.0)),)

    def losses(*which: int) -> tuple[float, float]:
        chosen = list(which)
        decoded = Decoded(logits=logits[chosen], ious=scores[chosen])
        ((mask, score, _),) = decode_losses(decoded, target[chosen], prompts=[box * len(which)], config=TrainConfig())
        score.backward()
        return mask.item(), score.item()

    speck, whole, both = losses(0), losses(1), losses(0, 1)
    assert speck[0] > 0.1
    assert speck[1] == 0.0
    assert whole[1] == pytest.approx(0.25**2)  # it was not found: IoU 0
    assert both[1] == pytest.approx(whole[1])
    assert scores.grad is not None
    assert not scores.grad[0].any()
