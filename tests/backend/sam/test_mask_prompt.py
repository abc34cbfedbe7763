"""A mask that exists already, as SAM takes it."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.masks.metrics import iou
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.canvas import mask_of_logits
from backend.sam.frame import SAM_FRAME
from backend.sam.mask_prompt import logits_of_mask, with_box

pytestmark = pytest.mark.arithmetic


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(40, 1500),
    width=st.integers(40, 1500),
    middle=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    radius=st.floats(0.1, 0.5),
)
def test_a_mask_comes_back_from_its_logits(height: int, width: int, middle: tuple[float, float], radius: float) -> None:
    rows, columns = np.mgrid[:height, :width]
    reach = max(radius * min(height, width), max(height, width) / 20)
    mask = np.hypot(rows - middle[0] * height, columns - middle[1] * width) < reach

    back = mask_of_logits(logits_of_mask(mask, frame=SAM_FRAME), frame=SAM_FRAME, height_px=height, width_px=width)

    assert iou(back, mask) > 0.9


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 1500), width=st.integers(1, 1500), full=st.booleans())
@example(height=2, width=820, full=True)  # 2 of the 4 canvas px of a cell
@example(height=1500, width=1, full=True)
def test_logits_are_sure_of_full_and_empty_masks_and_stay_within_ten(height: int, width: int, full: bool) -> None:
    logits = logits_of_mask(np.full((height, width), full), frame=SAM_FRAME)

    assert -10.0 <= float(logits.min()) <= float(logits.max()) <= 10.0
    rows, columns = SAM_FRAME.grid_reached(height, width)
    assert (logits[:rows, :columns] == (10.0 if full else -10.0)).all()


@pytest.mark.parametrize(("height", "width"), [(2, 820), (820, 2), (701, 900)])
def test_a_full_mask_comes_back_to_the_images_last_row_and_column(height: int, width: int) -> None:
    mask = np.ones((height, width), np.bool_)

    back = mask_of_logits(logits_of_mask(mask, frame=SAM_FRAME), frame=SAM_FRAME, height_px=height, width_px=width)

    assert back.all()


def test_beyond_the_image_there_is_no_object() -> None:
    logits = logits_of_mask(np.ones((300, 600), np.bool_), frame=SAM_FRAME)

    assert (logits[:128] == 10.0).all()
    assert (logits[128:] == -10.0).all()


MASK = np.zeros((100, 200), np.bool_)
MASK[20:40, 50:90] = True


def test_a_mask_brings_the_box_around_it_and_its_positive_clicks() -> None:
    clicks = (Click(95.5, 30.0), Click(10.0, 90.0, is_foreground=False))

    assert with_box(Prompt(mask=MASK)).box == Box(50.0, 20.0, 90.0, 40.0)
    assert with_box(Prompt(clicks=clicks, mask=MASK)).box == Box(50.0, 20.0, 95.5, 40.0)


def test_a_box_that_was_drawn_is_kept() -> None:
    drawn = Prompt(box=Box(1.0, 2.0, 3.0, 4.0), mask=MASK)

    assert with_box(drawn) is drawn


def test_a_prompt_without_a_mask_gets_no_box() -> None:
    assert with_box(Prompt(clicks=(Click(1.0, 1.0),))).box is None


def test_an_empty_mask_is_left_out() -> None:
    assert with_box(Prompt(clicks=(Click(1.0, 1.0),), mask=np.zeros_like(MASK))) == Prompt(clicks=(Click(1.0, 1.0),))
    assert with_box(Prompt(clicks=(Click(1.0, 1.0),), mask=np.zeros_like(MASK))).mask is None
