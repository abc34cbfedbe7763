"""Prompts in image px become the prompt encoder's tensors in canvas px."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME
from backend.sam.prompts import PromptTensors, group_prompts, join_prompts, prompt_tensors

CLICK = Prompt(clicks=(Click(200.0, 150.0),))
CLICKS = Prompt(clicks=(Click(10.0, 20.0), Click(30.0, 40.0), Click(50.0, 60.0, is_foreground=False)))
BOX = Prompt(box=Box(10.0, 20.0, 110.0, 220.0))
MASK = np.zeros((300, 400), np.bool_)
MASK[50:100, 50:100] = True


@pytest.fixture
def embedding() -> Embedding:
    return Embedding(features=torch.zeros(1, 1, 1, 1), height_px=300, width_px=400)


def test_prompts_with_and_without_a_mask_do_not_fit_into_one_batch(embedding: Embedding) -> None:
    with pytest.raises(BadInput, match="1 of 2 prompts have a mask"):
        prompt_tensors((CLICK, replace(CLICK, mask=MASK)), embedding, frame=SAM_FRAME)


def test_prompts_with_and_without_a_box_do_not_fit_into_one_batch(embedding: Embedding) -> None:
    with pytest.raises(BadInput, match="1 of 2 prompts have a box"):
        prompt_tensors((CLICK, BOX), embedding, frame=SAM_FRAME)


def test_fewer_clicks_are_padded_with_the_label_that_sam_ignores(embedding: Embedding) -> None:
    tensors = prompt_tensors((CLICK, CLICKS), embedding, frame=SAM_FRAME)

    assert tensors.labels is not None
    assert tensors.labels.tolist() == [[[1, -10, -10], [1, 1, 0]]]
    assert tensors.boxes is None


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_click_lies_at_the_same_share_of_the_canvas(height: int, width: int, at: tuple[float, float]) -> None:
    embedding = Embedding(features=torch.zeros(1, 1, 1, 1), height_px=height, width_px=width)

    tensors = prompt_tensors((Prompt(clicks=(Click(at[0] * width, at[1] * height),)),), embedding, frame=SAM_FRAME)

    assert tensors.points is not None
    x, y = tensors.points[0, 0, 0].tolist()
    assert x == pytest.approx(at[0] * max(1, int(width * 1024 / max(height, width) + 0.5)), abs=0.01)
    assert y == pytest.approx(at[1] * max(1, int(height * 1024 / max(height, width) + 0.5)), abs=0.01)


def test_a_box_and_a_mask_lie_on_the_canvas_and_the_grid(embedding: Embedding) -> None:
    tensors = prompt_tensors((replace(BOX, mask=MASK),), embedding, frame=SAM_FRAME)

    assert tensors.points is None
    assert tensors.boxes is not None
    assert tensors.masks is not None
    assert tensors.boxes[0, 0].tolist() == pytest.approx([25.6, 51.2, 281.6, 563.2])
    assert tensors.masks.shape == (1, 1, 256, 256)
    assert (tensors.masks[0, 0, 33:63, 33:63] > 0).all()


def test_what_is_not_there_stays_away_on_any_device() -> None:
    moved = PromptTensors(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, dtype=torch.int64), None, None).to(
        torch.device("cpu")
    )
    assert (moved.boxes, moved.masks) == (None, None)
    assert moved.points is not None


@pytest.mark.parametrize("prompts", [(CLICK,), (CLICKS, CLICK), (BOX, BOX, BOX), (replace(BOX, mask=MASK),)])
def test_prompts_are_filled_up_with_the_last(prompts: tuple[Prompt, ...], embedding: Embedding) -> None:
    tensors = prompt_tensors(prompts, embedding, frame=SAM_FRAME)

    padded = tensors.pad_to(4)

    assert (tensors.count, padded.count) == (len(prompts), 4)
    expected = prompt_tensors((*prompts, *[prompts[-1]] * (4 - len(prompts))), embedding, frame=SAM_FRAME)
    for name in ("points", "labels", "boxes", "masks"):
        made, wanted = getattr(padded, name), getattr(expected, name)
        assert (made is None) == (wanted is None)
        assert made is None or torch.equal(made, wanted)


def test_prompts_of_several_images_are_joined_in_their_order(embedding: Embedding) -> None:
    parts = [
        prompt_tensors([prompt], embedding, frame=SAM_FRAME) for prompt in (BOX, Prompt(box=Box(1.0, 2.0, 3.0, 4.0)))
    ]

    joined = join_prompts(parts)

    assert joined.count == 2
    assert joined.boxes is not None
    assert torch.equal(joined.boxes[0, 1], parts[1].boxes[0, 0])
    assert (joined.points, joined.labels, joined.masks) == (None, None, None)


def test_prompts_are_decoded_together_with_their_own_kind_and_in_bounded_groups() -> None:
    prompts = [CLICK, BOX, CLICKS, CLICK, CLICK]

    assert list(group_prompts(prompts, most=2)) == [[0, 3], [4], [1], [2]]
