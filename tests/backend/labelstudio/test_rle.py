"""The brush codec speaks the same bytes as label-studio-sdk's, faster, and refuses bombs before it expands them."""

import contextlib
import io
import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.payloads import PAYLOADS

from backend.errors import BadInput
from backend.labelstudio.alpha import mask_of_alpha
from backend.labelstudio.rle import decode_mask, encode_mask

with contextlib.redirect_stdout(io.StringIO()):
    from label_studio_sdk.converter import brush


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
masks = arrays.arrays(bool, shapes, elements=st.booleans(), fill=st.booleans())


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2


def sdk_alpha(rle: list[int], height: int, width: int) -> np.ndarray:
    return brush.decode_rle(rle).reshape(height, width, 4)[..., 3]


@given(mask=masks)
def test_our_bytes_are_the_sdks_bytes_and_come_back(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert rle == brush.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(sdk_alpha(rle, *mask.shape) == 255, mask)
    assert np.array_equal(decode_mask(rle, height_px=mask.shape[0], width_px=mask.shape[1]), mask)


@given(alpha=arrays.arrays(np.uint8, shapes))
def test_antialiased_alpha_is_encoded_as_the_sdk_does_and_comes_back_from_it(alpha: np.ndarray) -> None:
    rle = encode_mask(alpha)
    assert rle == brush.mask2rle(alpha)
    assert np.array_equal(sdk_alpha(rle, *alpha.shape), alpha)


@given(rgba=arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4))))
def test_any_alpha_of_the_sdk_is_the_mask_that_it_shows(rgba: np.ndarray) -> None:
    rle = brush.encode_rle(rgba.ravel())
    height, width, _ = rgba.shape
    assert np.array_equal(decode_mask(rle, height_px=height, width_px=width), mask_of_alpha(rgba[..., 3]))


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (129, 1), (300, 512), (128, 128), (256, 64), (257, 64)])
def test_empty_and_full_masks_of_every_size_come_back(shape: tuple[int, int], fill: bool) -> None:
    mask = np.full(shape, fill)
    rle = encode_mask(mask)
    assert rle == brush.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(decode_mask(rle, height_px=shape[0], width_px=shape[1]), mask)


def test_rows_of_literals_decode_as_the_front_end_writes_them() -> None:
    """The SDK never writes a row of more than one literal; Label Studio's front end does, at antialiased edges."""
    values = [1, 2, 3, 200, 5, 6, 7, 100, 9, 9, 9, 255]  # three pixels, alpha 200, 100, 255
    bits = f"{12:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16))
    bits += "0" + "01" + f"{12 - 1:04b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_mask(rle, height_px=1, width_px=3).tolist() == [[True, False, True]]
    assert brush.decode_rle(rle).tolist() == values


@pytest.mark.parametrize(
    "name",
    ["51-UI-submit-annotation-request-after-interactive", "54-UI-submit-two-interactive-regions-unique-ids"],
)
def test_masks_recorded_from_the_real_front_end_decode_as_the_sdk_decodes_them(name: str) -> None:
    body = json.loads((PAYLOADS / f"{name}.json").read_text())
    regions = [region for region in body["result"] if region["type"] == "brushlabels"]
    assert regions
    for region in regions:
        height, width, rle = region["original_height"], region["original_width"], region["value"]["rle"]
        assert np.array_equal(decode_mask(rle, height_px=height, width_px=width), sdk_alpha(rle, height, width) > 127)


def test_a_bomb_of_half_a_megabyte_is_refused_at_once_and_in_little_memory() -> None:
    bomb = brush.encode_rle(np.zeros(4, np.uint8))[:7]
    bomb[:4] = [0x7F, 0xFF, 0xFF, 0xFF]
    bomb += [0xFF] * 500_000
    tracemalloc.start()
    began = time.thread_time()  # its own: what else runs on the machine does not count
    with pytest.raises(BadInput, match="holds 2147483647 values, but a mask of 1000x1000 has 4000000"):
        decode_mask(bomb, height_px=1000, width_px=1000)
    assert time.thread_time() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_whole_numbers_written_as_floats_are_bytes() -> None:
    mask = np.eye(5, 7, dtype=bool)
    written = [float(byte) for byte in encode_mask(mask)]
    assert np.array_equal(decode_mask(written, height_px=5, width_px=7), mask)


@pytest.mark.parametrize(
    ("rle", "complaint"),
    [
        (None, "is NoneType, not a list"),
        ("0101", "is str, not a list"),
        (5, "is int, not a list"),
        ([], "less than its header"),
        ([0, 0, 0, 16], "less than its header"),
        ([0, 0, 0, 16, 300, 1, 1, 1], "from 0 to 255"),
        ([0, 0, 0, 16, -1, 1, 1, 1], "from 0 to 255"),
        ([0, 0, 0, 16, "a", 1, 1, 1], "from 0 to 255"),
        ([0, 0, 0, 16, 1.5, 1, 1, 1], "from 0 to 255"),
        ([0, 0, 0, 16, None, 1, 1, 1], "from 0 to 255"),
        ([10**400] * 8, "from 0 to 255"),
        ([0] * 10_000, "takes at most 92"),
        ([0, 0, 0, 15, 57, 27, 224, 0], "holds 15 values"),
        ([0, 0, 0, 16, 0, 27, 224, 0], "values of 1 bits"),
        (encode_mask(np.ones((2, 2), bool))[:7], "cut short"),
        # three runs of 8 into 16
        ([0, 0, 0, 16, 57, 27, 188, 224, 7, 128], "cut short|runs over"),
    ],
)
def test_nonsense_is_refused_with_the_reason(rle: object, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        decode_mask(rle, height_px=2, width_px=2)


def test_a_run_beyond_the_end_is_refused() -> None:
    longer = encode_mask(np.ones((3, 3), bool))
    longer[:4] = [0, 0, 0, 16]
    with pytest.raises(BadInput, match="runs over its end: 36 values where its header says 16"):
        decode_mask(longer, height_px=2, width_px=2)


@given(first=st.integers(224, 255), code=st.lists(st.integers(0, 255), max_size=60), height=st.integers(1, 4))
def test_any_bytes_behind_a_true_header_decode_or_are_refused(first: int, code: list[int], height: int) -> None:
    rle = [0, 0, 0, 4 * height * 3, 57, 27, first, *code]
    with contextlib.suppress(BadInput):
        assert decode_mask(rle, height_px=height, width_px=3).shape == (height, 3)
