"""The semantic head: as many maps as it has classes, none of them the promptable decoder's business."""

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.sam.decoder import cells_of
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.semantic.head import SemanticHead, margins, probabilities

HUNDRED = tuple(f"label {number}" for number in range(100))
LOGITS = arrays.arrays(np.float32, (4, 3, 3), elements=st.floats(-20, 20, width=32))


def head_of(base: BaseModel, *labels: str | None) -> SemanticHead:
    ground = base.model.prompt_encoder.no_mask_embed.weight[0]
    return SemanticHead(base.model.mask_decoder, ground=ground, labels=labels)


def maps_of(head: SemanticHead, base: BaseModel) -> torch.Tensor:
    image = torch.randn(1, *base.image_positions.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return head(image, cells_of(base.image_positions, torch.float32))


@pytest.mark.parametrize(("labels", "maps"), [(("Cell",), 1), (("a", "b"), 3), (HUNDRED, 101)])
def test_one_label_has_one_map_and_several_have_one_each_beside_the_grounds(
    tiny_base: BaseModel, labels: tuple[str, ...], maps: int
) -> None:
    found = maps_of(head_of(tiny_base, *labels), tiny_base)
    assert found.shape == (maps, 256, 256)
    assert margins(found).shape == probabilities(found).shape == (len(labels), 256, 256)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("labels", [(), ("a", "a"), (*HUNDRED, "one more")])
def test_no_label_a_label_twice_and_more_than_a_hundred_are_refused(
    tiny_base: BaseModel, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=f"1 to 100 labels, all different; {len(labels)} were given"):
        head_of(tiny_base, *labels)


def test_not_one_weight_of_the_promptable_decoder_moves_with_the_heads(tiny_base: BaseModel) -> None:
    before = decoder_bytes(tiny_base.model.mask_decoder)
    head = head_of(tiny_base, "a", "b")
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(1.0)
    assert decoder_bytes(tiny_base.model.mask_decoder) == before


@given(LOGITS)
def test_a_cell_is_the_label_whose_logit_is_the_highest(values: np.ndarray) -> None:
    logits = torch.from_numpy(values)
    above, best = margins(logits) > 0, logits.argmax(0)
    unique = (logits == logits.amax(0)).sum(0) == 1
    for label in range(3):
        assert torch.equal(above[label][unique], (best == label + 1)[unique])
    assert not above[:, ~unique].any()
    assert (above.sum(0) <= 1).all()


@given(LOGITS)
def test_probabilities_of_the_labels_and_the_ground_sum_to_one(values: np.ndarray) -> None:
    logits = torch.from_numpy(values)
    ground = logits.softmax(0)[0]
    assert torch.allclose(probabilities(logits).sum(0) + ground, torch.ones(3, 3), atol=1e-5)


def test_of_one_label_the_probability_is_the_logistic_function() -> None:
    assert probabilities(torch.full((1, 1, 1), 2.0)).item() == pytest.approx(1 / (1 + math.exp(-2)))
