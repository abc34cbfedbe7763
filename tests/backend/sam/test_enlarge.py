"""A map enlarged where it matters is above zero where PyTorch's interpolation of the whole is."""

import tracemalloc

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from backend.sam.canvas import mask_of_logits
from backend.sam.enlarge import enlarge_above_zero
from backend.sam.frame import SAM_FRAME

sizes = st.integers(1, 60)


def smooth(seed: int, *, height: int, width: int, level: float) -> np.ndarray:
    rough = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, 5, 5)).astype(np.float32))
    return (functional.interpolate(rough, (height, width), mode="bicubic")[0, 0] - level).numpy()


def assert_above_zero_alike(mask: np.ndarray, values: torch.Tensor) -> None:
    """Alike wherever the value is not zero but for its last bits."""
    told = values.abs() > 1e-5 * values.abs().max()
    assert torch.equal(torch.from_numpy(mask)[told], (values > 0)[told])


@settings(deadline=None)
@given(seed=st.integers(0, 99), level=st.floats(-1, 3, width=32), h=sizes, w=sizes, height=sizes, width=sizes)
def test_any_size_to_any_size(seed: int, level: float, h: int, w: int, height: int, width: int) -> None:  # noqa: PLR0917 - drawn
    values = smooth(seed, height=h, width=w, level=level)

    mask = enlarge_above_zero(values, height=height, width=width)

    expected = functional.interpolate(torch.from_numpy(values)[None, None], (height, width), mode="bilinear")
    assert_above_zero_alike(mask, expected[0, 0])


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 99),
    level=st.floats(-1, 3, width=32),
    height=st.integers(1, 1500),
    width=st.integers(1, 1500),
)
def test_a_mask_is_segment_anythings_two_steps(seed: int, level: float, height: int, width: int) -> None:
    logits = torch.from_numpy(smooth(seed, height=256, width=256, level=level))

    mask = mask_of_logits(logits, frame=SAM_FRAME, height_px=height, width_px=width)

    inside = SAM_FRAME.size_on_canvas(height, width)
    canvas = functional.interpolate(logits[None, None], (SAM_FRAME.canvas_px, SAM_FRAME.canvas_px), mode="bilinear")
    canvas = canvas[..., : inside[0], : inside[1]]
    assert_above_zero_alike(mask, functional.interpolate(canvas, (height, width), mode="bilinear")[0, 0])


def test_a_mask_of_twelve_megapixels_takes_little_more_memory_than_its_own() -> None:
    """Fails without the strips: the enlarged numbers take four bytes a pixel, and a mask takes one."""
    values = np.ones((256, 256), np.float32)
    tracemalloc.start()
    try:
        mask = enlarge_above_zero(values, height=3000, width=4000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mask.all()
    assert peak_bytes < 3 * mask.nbytes
