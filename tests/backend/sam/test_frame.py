"""Where an image lies on the canvas, and which of the decoder's cells it reaches."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.sam.canvas import pixels_on_canvas
from backend.sam.frame import SAM_FRAME

STRETCHED = replace(SAM_FRAME, keeps_aspect=False)
FRAMES = st.sampled_from([SAM_FRAME, STRETCHED, replace(SAM_FRAME, canvas_px=1008, grid=288 // 4)])
sides = st.integers(1, 20_000)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_the_cells_that_an_image_reaches_are_those_that_show_its_pixels(height: int, width: int) -> None:
    white = pixels_on_canvas(Image.new("RGB", (width, height), "white"), frame=SAM_FRAME)[0, 0].numpy()
    cell_px = int(SAM_FRAME.cell_px)
    cells = white.reshape(SAM_FRAME.grid, cell_px, SAM_FRAME.grid, cell_px).any((1, 3))
    rows, columns = SAM_FRAME.grid_reached(height, width)
    assert cells[:rows, :columns].all()
    assert np.count_nonzero(cells) == rows * columns


@given(frame=FRAMES, height=sides, width=sides)
def test_the_last_cell_begins_inside_the_image_and_ends_at_its_edge_or_beyond(
    frame: object, height: int, width: int
) -> None:
    assert isinstance(frame, type(SAM_FRAME))
    cell_px = frame.image_px_per_cell(height, width)
    for cells, side, length in zip(frame.grid_reached(height, width), (height, width), cell_px, strict=True):
        assert 1 <= cells <= frame.grid
        assert (cells - 1) * length < side <= cells * length * (1 + 1e-9)


@given(frame=FRAMES, height=sides, width=sides, data=st.data())
def test_the_middle_of_a_cell_lies_in_the_image_and_in_the_cell(
    frame: object, height: int, width: int, data: st.DataObject
) -> None:
    assert isinstance(frame, type(SAM_FRAME))
    rows, columns = frame.grid_reached(height, width)
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    x_px, y_px = frame.middle_of_cell(row, column, height_px=height, width_px=width)
    down, across = frame.image_px_per_cell(height, width)
    assert row * down < y_px <= min(height, (row + 1) * down)
    assert column * across < x_px <= min(width, (column + 1) * across)


@given(height=sides, width=sides)
def test_a_family_that_does_not_keep_the_aspect_fills_its_canvas(height: int, width: int) -> None:
    assert STRETCHED.size_on_canvas(height, width) == (1024, 1024)
    assert STRETCHED.grid_reached(height, width) == (256, 256)


def test_the_mean_colour_is_what_the_encoder_hardly_tells_from_the_canvas_beyond_the_image() -> None:
    canvas = pixels_on_canvas(Image.new("RGB", (40, 20), SAM_FRAME.mean_colour), frame=SAM_FRAME)
    assert canvas.abs().max().item() == pytest.approx(0, abs=0.01)
