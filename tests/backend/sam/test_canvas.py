"""The way to SAM's canvas and back is segment-anything's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from backend.sam.canvas import mask_of_logits, pixels_on_canvas
from backend.sam.frame import SAM_FRAME

pytestmark = pytest.mark.arithmetic

SIZES = [(512, 512), (480, 640), (1333, 777), (37, 2001), (3000, 2000), (1, 1), (5, 3000)]


@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000))
def test_the_longest_side_fills_the_canvas_and_the_shape_is_kept(height: int, width: int) -> None:
    on_canvas = SAM_FRAME.size_on_canvas(height, width)

    assert max(on_canvas) == SAM_FRAME.canvas_px
    assert min(on_canvas) >= 1
    for side, original in zip(on_canvas, (height, width), strict=True):
        assert abs(side - original * SAM_FRAME.canvas_px / max(height, width)) <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pixels_are_those_of_transformers_own_processor(height: int, width: int) -> None:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
    if min(SAM_FRAME.size_on_canvas(height, width)) * max(height, width) < SAM_FRAME.canvas_px * min(height, width):
        pytest.skip("transformers rounds a side of this size another way")

    theirs = SamImageProcessorPil()(image, return_tensors="pt")

    assert tuple(theirs["reshaped_input_sizes"][0]) == SAM_FRAME.size_on_canvas(height, width)
    torch.testing.assert_close(pixels_on_canvas(image, frame=SAM_FRAME), theirs["pixel_values"], atol=1e-5, rtol=0)


def test_right_of_the_image_and_below_it_there_is_nothing() -> None:
    white = Image.new("RGB", (300, 600), "white")

    pixels = pixels_on_canvas(white, frame=SAM_FRAME)

    assert not pixels[..., 512:].any()
    assert (pixels[..., :512] > 2).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_agree_with_transformers_own_postprocessing(height: int, width: int) -> None:
    torch.manual_seed(0)
    logits = torch.nn.functional.interpolate(torch.randn(1, 1, 20, 20), size=256, mode="bicubic")

    ours = mask_of_logits(logits[0, 0], frame=SAM_FRAME, height_px=height, width_px=width)

    (theirs,) = SamImageProcessorPil().post_process_masks(
        [logits], original_sizes=[(height, width)], reshaped_input_sizes=[SAM_FRAME.size_on_canvas(height, width)]
    )
    theirs = theirs[0, 0].numpy()
    assert ours.shape == (height, width)
    assert (ours & theirs).sum() >= 0.999 * (ours | theirs).sum()


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_logits_of_one_sign_make_a_mask_of_one_value(height: int, width: int) -> None:
    assert mask_of_logits(torch.ones(256, 256), frame=SAM_FRAME, height_px=height, width_px=width).all()
    assert not mask_of_logits(torch.zeros(256, 256), frame=SAM_FRAME, height_px=height, width_px=width).any()
