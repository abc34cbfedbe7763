"""What changed most is found, cut out small, and outlined along its pixels."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from backend.masks.metrics import iou
from backend.masks.packed import KeptMask
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import METRICS, Measured
from finetuner.report.overlays import LONGEST_PX, changes, overlay


def _measured(prompt: str, mask: np.ndarray, truth: np.ndarray) -> Measured:
    return Measured(
        image_sha256="a" * 64,
        label="<b>",
        size="small",
        prompt=prompt,
        score=0.5,
        predicted_iou=0.5,
        values={**dict.fromkeys(METRICS, 0.5), "iou": iou(mask, truth)},
        mask=KeptMask.of(mask),
    )


def _square(y: int, x: int, side: int, *, shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


@pytest.fixture
def four() -> tuple[list[Sample], list[Measured], list[Measured]]:
    """Four squares: one gets better with the point, one with the box, one worse with the box, one stays."""
    truths = [_square(50, 50 + 80 * n, 40) for n in range(4)]
    half = [_square(50, 50 + 80 * n, 20) for n in range(4)]
    before = {(0, "point"): half[0], (1, "box"): half[1]}
    after = {(2, "box"): half[2]}
    base, candidate = (
        [
            _measured(prompt, wrong.get((n, prompt), truth), truth)
            for n, truth in enumerate(truths)
            for prompt in ("box", "point")
        ]
        for wrong in (before, after)
    )
    objects = tuple(LabelledMask.of(truth, label="<b>") for truth in truths)
    return [Sample(image_sha256="a" * 64, height_px=300, width_px=400, objects=objects)], base, candidate


def test_each_object_shows_once_with_the_prompt_that_changed_it(
    four: tuple[list[Sample], list[Measured], list[Measured]],
) -> None:
    improved, worsened = changes(*four)
    assert [(change.before.prompt, round(change.gain, 2)) for change in improved] == [("point", 0.75), ("box", 0.75)]
    assert [(change.before.prompt, round(change.gain, 2)) for change in worsened] == [("box", -0.75)]
    assert [len(side) for side in changes(*four, count=1)] == [1, 1]


def test_an_overlay_holds_the_crop_alone(four: tuple[list[Sample], list[Measured], list[Measured]]) -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[50:90, 50:90] = 255
    found = overlay(changes(*four)[0][0], pictures=lambda _: Image.fromarray(pixels))
    # 40 px and a margin of a fifth of them on either side; the square is white, and outlined where it is.
    assert (found.width_px, found.height_px) == (56, 56)
    assert found.picture is not None
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.picture.partition(",")[2]))))
    assert (crop[8:48, 8:48] == 255).all()
    assert not crop[:8].any()
    assert found.human == "M8 8H48M8 48H48M8 8V48M48 8V48"
    assert found.base == "M8 8H28M8 28H28M8 8V28M28 8V28"
    assert found.candidate == found.human
    assert found.click is not None
    assert (int(found.click.x_px), int(found.click.y_px)) == (27, 27)
    assert found.box is None


def test_a_mask_that_floods_the_image_is_shown_in_part_and_small() -> None:
    truth, flood = _square(900, 900, 400, shape=(3000, 3000)), np.ones((3000, 3000), bool)
    sample = Sample(image_sha256="a" * 64, height_px=3000, width_px=3000, objects=(LabelledMask.of(truth, label=None),))
    base, candidate = ([_measured(prompt, mask, truth) for prompt in ("box", "point")] for mask in (flood, truth))
    found = overlay(changes([sample], base, candidate)[0][0], pictures=lambda _: None)
    assert max(found.width_px, found.height_px) == LONGEST_PX
    assert found.picture is None
    # The object is still a quarter of the crop wide, not a seventh of it as in the image.
    left, right = (int(number) for number in re.findall(r"M(\d+) \d+H(\d+)", found.human)[0])
    assert (right - left) / found.width_px > 0.2
