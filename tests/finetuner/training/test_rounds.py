"""Which masks and scores of a decode learn, and from what."""

import pytest
import torch

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.family import Decoded
from finetuner.config import TrainConfig
from finetuner.training.rounds import Learnt, decode_losses

BCE = TrainConfig(losses=(("bce", 1.0),))
BOX, POINT = Prompt(box=Box(0.0, 0.0, 4.0, 4.0)), Prompt(clicks=(Click(1.0, 1.0),))
SURE = 30.0


def _decode(*right: bool) -> tuple[Decoded, torch.Tensor]:
    """One object whose four masks are right or the opposite, their IoUs said to be 1; and the truth: the upper half."""
    target = torch.zeros(1, 4, 4)
    target[:, :2] = 1
    sign = torch.tensor([1.0 if is_right else -1.0 for is_right in right])
    logits = SURE * (2 * target - 1)[:, None] * sign[None, :, None, None]
    return Decoded(logits=logits.requires_grad_(), ious=torch.ones(1, 4, requires_grad=True)), target


def test_a_box_teaches_the_single_mask_alone() -> None:
    decoded, target = _decode(False, True, True, True)
    ((mask, _, _),) = decode_losses(decoded, target, prompts=[[BOX]], config=BCE)
    assert mask.item() == pytest.approx(SURE)
    mask.backward()
    assert decoded.logits.grad is not None
    assert (decoded.logits.grad.flatten(2).abs().sum(2) > 0).tolist() == [[True, False, False, False]]


def test_one_click_teaches_the_best_of_the_three_too() -> None:
    decoded, target = _decode(False, False, True, False)
    ((mask, _, _),) = decode_losses(decoded, target, prompts=[[POINT]], config=BCE)
    assert mask.item() == pytest.approx(SURE / 2)  # the single mask is all wrong, the best of the others all right
    two = Prompt(clicks=(Click(1.0, 1.0), Click(2.0, 2.0)))
    assert decode_losses(decoded, target, prompts=[[two]], config=BCE)[0, 0].item() == pytest.approx(SURE)


def test_every_score_learns_the_iou_that_its_mask_has_and_no_mask_learns_from_it() -> None:
    decoded, target = _decode(True, False, True, False)
    ((_, score, _),) = decode_losses(decoded, target, prompts=[[BOX]], config=BCE)
    assert score.item() == pytest.approx(0.5)  # two of the four have an IoU of 0, and were said to have 1
    score.backward()
    assert decoded.logits.grad is None or not decoded.logits.grad.any()
    assert decoded.ious.grad is not None
    assert (decoded.ious.grad[0] > 0).tolist() == [False, True, False, True]


def test_an_object_that_covers_no_cell_by_half_teaches_no_score() -> None:
    decoded, target = _decode(True, True, True, True)
    assert decode_losses(decoded, target * 0.4, prompts=[[BOX]], config=BCE)[0, 1].item() == 0


def test_a_prompt_without_an_object_teaches_the_object_score_alone() -> None:
    right, target = _decode(True, True, True, True)
    logits = torch.cat([right.logits, torch.full((1, 4, 4, 4), SURE)]).detach().requires_grad_()
    ious = torch.full((2, 4), 0.5, requires_grad=True)
    decoded = Decoded(logits=logits, ious=ious, object_scores=torch.zeros(2, requires_grad=True))
    both = torch.cat([target, torch.zeros(1, 4, 4)])
    losses = decode_losses(decoded, both, prompts=[[BOX, POINT]], config=BCE)
    assert losses[0, 0].item() == pytest.approx(0, abs=1e-6)
    assert losses[0, 1].item() == pytest.approx(0.25)
    losses.sum().backward()
    for learnt in (decoded.logits.grad, decoded.ious.grad):
        assert learnt is not None
        assert not learnt[1].any()
    assert decoded.object_scores is not None
    assert decoded.object_scores.grad is not None
    assert (decoded.object_scores.grad > 0).tolist() == [False, True]


def test_images_that_learn_together_have_the_losses_that_they_have_alone() -> None:
    torch.manual_seed(0)
    kinds = [[BOX, POINT, POINT], [POINT], [BOX, BOX]]
    counts = [len(own) for own in kinds]
    decoded = Decoded(logits=torch.randn(6, 4, 7, 7), ious=torch.rand(6, 4), object_scores=torch.randn(6))
    target = torch.rand(6, 5, 7) * (torch.arange(6) != 1)[:, None, None]  # one covers nothing

    together = decode_losses(decoded, target, prompts=kinds, config=TrainConfig())

    tensors = decoded.logits, decoded.ious, decoded.object_scores, target
    parts = zip(*(torch.split(values, counts) for values in tensors), strict=True)
    for own, (logits, ious, scores, covered), expected in zip(kinds, parts, together, strict=True):
        alone = Decoded(logits=logits, ious=ious, object_scores=scores)
        (made,) = decode_losses(alone, covered, prompts=[own], config=TrainConfig())
        torch.testing.assert_close(made, expected)


def test_what_parts_of_a_step_learn_adds_up() -> None:
    both = Learnt(1.0, 2.0, 3, 0.5) + Learnt(0.5, 0.25, 4, 0.25)
    assert both == Learnt(1.5, 2.25, 7, 0.75)
    assert both.loss(iou_weight=2.0) == 1.5 + 2 * 2.25 + 0.75
