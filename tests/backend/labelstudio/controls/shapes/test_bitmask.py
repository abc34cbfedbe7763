"""A bitmask holds every pixel."""

import numpy as np
import pytest

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.bitmask import SHAPE

SIZE = Size(height_px=6, width_px=8)


def test_a_mask_comes_back_to_the_pixel() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=5.0)
    assert np.array_equal(SHAPE.read(value, SIZE), mask)


def test_a_bitmask_of_another_shape_than_the_image_is_refused_by_its_header() -> None:
    (value,) = SHAPE.write(np.ones((3, 4), bool), tolerance_px=0.0)
    with pytest.raises(UnusableRegion, match="4x3 pixels, not 6x8"):
        SHAPE.read(value, Size(height_px=8, width_px=6))


@pytest.mark.parametrize("times", [1 / 2, 2])
def test_a_bitmask_of_another_size_is_scaled_as_in_the_editor(times: float) -> None:
    mask = np.kron(np.random.default_rng(1).random((3, 4)) > 0.5, np.ones((2, 2), bool))
    (value,) = SHAPE.write(mask[::2, ::2] if times < 1 else np.kron(mask, np.ones((2, 2), bool)), tolerance_px=0.0)
    assert np.array_equal(SHAPE.read(value, SIZE), mask)


def test_a_url_is_decoded_as_browsers_do() -> None:
    mask = np.random.default_rng(2).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    url = value["imageDataURL"]
    for other in (url.rstrip("="), url[:60] + "\n" + url[60:], url.replace("=", "%3D")):
        assert np.array_equal(SHAPE.read({"imageDataURL": other}, SIZE), mask)
