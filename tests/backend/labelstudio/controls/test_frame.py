"""Per cent of the image become pixels of it; what lies outside is cut off or refused."""

import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.frame import box_in_image, place_px, scale_px
from backend.labelstudio.controls.shape import Size
from backend.masks.prompt import Box

SIZE = Size(height_px=100, width_px=200)


def test_a_place_is_in_pixels_of_the_image_and_a_rounding_beyond_is_cut_off() -> None:
    assert place_px({"x": 50, "y": 10}, SIZE) == (100.0, 10.0)
    assert place_px({"x": 100.5, "y": -0.5}, SIZE) == (200.0, 0.0)
    with pytest.raises(BadInput, match=r"x is 102 %, outside of the image"):
        place_px({"x": 102, "y": 10}, SIZE)


def test_lengths_are_in_per_cent_of_the_side_that_they_run_along_and_know_no_edge() -> None:
    assert scale_px({"width": 600, "height": -50}, "width", "height", size=SIZE) == (1200.0, -50.0)


def test_of_a_box_there_is_what_lies_in_the_image() -> None:
    assert box_in_image((-5.0, 20.0, 30.0, 400.0), size=SIZE, what="a box") == Box(0.0, 20.0, 30.0, 100.0)


@pytest.mark.parametrize("box", [(-9.0, 0.0, 0.0, 9.0), (0.0, 100.0, 9.0, 120.0), (5.0, 5.0, 5.0, 9.0)])
def test_a_box_without_area_in_the_image_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(BadInput, match=r"^a box has no area in the image"):
        box_in_image(box, size=SIZE, what="a box")
