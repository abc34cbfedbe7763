"""Measures of known masks, the shape of the report, and the bootstrap over images."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, PredictedMask
from finetuner.dataset import Sample
from finetuner.evaluation import METRICS, Measured, compared_json, differences, measure, report
from finetuner.objects import LabelledMask


class Painter:
    """A predictor whose masks are known: right with a box or `needed` clicks; with fewer it sees the lower half."""

    def __init__(self, truths: Sequence[np.ndarray], *, needed: int) -> None:
        self._truths, self._needed = truths, needed

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        return tuple(self._mask(prompt) for prompt in prompts)

    def _mask(self, prompt: Prompt) -> PredictedMask:
        x, y = (
            (prompt.clicks[0].x_px, prompt.clicks[0].y_px)
            if prompt.box is None
            else ((prompt.box.x0_px + prompt.box.x1_px) / 2, (prompt.box.y0_px + prompt.box.y1_px) / 2)
        )
        mask = next(truth for truth in self._truths if truth[int(y), int(x)]).copy()
        if prompt.box is None and len(prompt.clicks) < self._needed:
            mask[: mask.shape[0] // 2] = False
        return PredictedMask(mask=mask, score=1.0, low_res_logits=np.zeros((256, 256), np.float32))


@pytest.fixture
def truths() -> list[np.ndarray]:
    found = [np.zeros((40, 60), bool) for _ in range(2)]
    found[0][10:30, 5:25], found[1][10:30, 35:55] = True, True
    return found


@pytest.fixture
def square_sample(truths: list[np.ndarray]) -> Sample:
    objects = (LabelledMask.of(truths[0], label="A"), LabelledMask.of(truths[1], label=None))
    return Sample(image_sha256="a" * 64, height_px=40, width_px=60, objects=objects)


def _embedding(_: Sample) -> Embedding:
    return Embedding(features=torch.zeros(1, 1, 1, 1), height_px=40, width_px=60)


def test_known_masks_have_known_measures(truths: list[np.ndarray], square_sample: Sample) -> None:
    done: list[int] = []
    measured = measure(Painter(truths, needed=3), [square_sample], embedding=_embedding, clicks=3, on_image=done.append)
    found = report(measured)
    assert done == [1]
    assert found["box"] == {
        "iou": 1.0, "dice": 1.0, "boundary_iou": 1.0, "hd95_px": 0.0, "over_area": 0.0, "under_area": 0.0, "n": 2,
    }  # fmt: skip
    assert found["point"]["iou"] == 0.5
    assert found["point"]["under_area"] == 0.5
    assert found["point"]["over_area"] == 0.0
    assert found["point"]["hd95_px"] == 10.0
    # The first correction is not enough, the second is; then nothing is wrong any more and nobody clicks.
    assert found["clicks"] == {"0": 0.5, "1": 0.5, "2": 1.0, "3": 1.0}
    assert set(found["labels"]) == {"A", "(none)"}
    assert found["labels"]["A"]["iou"] == 0.75
    assert found["semantic"] is None


def test_the_comparison_has_the_shape_that_is_promised(truths: list[np.ndarray], square_sample: Sample) -> None:
    base, candidate = (
        measure(Painter(truths, needed=needed), [square_sample], embedding=_embedding, clicks=7) for needed in (3, 1)
    )
    told = compared_json(base, candidate, found=differences(base, candidate))
    assert (told["images"], told["objects"]) == (1, 2)
    for side in ("base", "candidate"):
        assert set(told[side]) == {"box", "point", "clicks", "labels", "semantic"}
        assert set(told[side]["box"]) == {*METRICS, "n"}
        assert list(told[side]["clicks"]) == [str(k) for k in range(8)]
    assert told["difference"]["point"]["iou"] == [0.5, 0.5, 0.5]
    assert told["difference"]["box"]["boundary_iou"] == [0.0, 0.0, 0.0]
    alone = compared_json(base, None, found=None)
    assert (alone["candidate"], alone["difference"]) == (None, None)


def _measured(image: str, value: float) -> list[Measured]:
    values: Mapping[str, float] = dict.fromkeys(METRICS, value)
    return [
        Measured(image_sha256=image, label="A", prompt=prompt, values=values, clicks_iou=(value,))
        for prompt in ("box", "point")
    ]


def test_the_bootstrap_draws_images_and_weighs_them_by_their_objects() -> None:
    """One image with nine objects that gain, nine images with one object each that lose: the mean is in between."""
    base = _measured("many", 0.5) * 9 + [each for n in range(9) for each in _measured(f"few{n}", 0.5)]
    candidate = _measured("many", 0.7) * 9 + [each for n in range(9) for each in _measured(f"few{n}", 0.4)]
    found = differences(base, candidate)["box"]["iou"]
    assert found.mean == pytest.approx(0.05)
    # Over objects the interval would be a third as wide: the nine of one image are no nine witnesses.
    assert found.low == pytest.approx(-0.1)
    assert found.high > 0.1
    assert differences(base, candidate, seed=0) == differences(base, candidate, seed=0)


def test_a_sure_gain_has_an_interval_above_zero() -> None:
    rng = np.random.default_rng(0)
    base = [each for n in range(20) for each in _measured(str(n), 0.5)]
    candidate = [each for n in range(20) for each in _measured(str(n), 0.6 + float(rng.normal(0, 0.05)))]
    found = differences(base, candidate)["point"]["boundary_iou"]
    assert 0.05 < found.low < found.mean < found.high < 0.15
