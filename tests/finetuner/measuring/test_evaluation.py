"""Measures of known masks, and the shape of the report."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from backend.masks.prompt import Prompt
from backend.registry.figures import METRICS, ClicksToGoal, MaskFigures
from backend.sam.predictor import Embedding, PredictedMask
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.comparison import comparison, differences
from finetuner.measuring.evaluation import measure, report


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
        return PredictedMask(
            mask=mask,
            score=0.9,
            low_res_logits=np.zeros((256, 256), np.float32),
            predicted_iou=0.5 if prompt.box else 1.2,
        )


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
    assert found.box == MaskFigures(
        iou=1.0, dice=1.0, boundary_iou=1.0, hd95_px=0.0, over_area=0.0, under_area=0.0, n=2
    )
    assert found.point is not None
    assert found.point.iou == 0.5
    assert found.point.under_area == 0.5
    assert found.point.over_area == 0.0
    assert found.point.hd95_px == 10.0
    # The first correction is not enough, the second is; then nothing is wrong any more and nobody clicks.
    assert found.clicks == {0: 0.5, 1: 0.5, 2: 1.0, 3: 1.0}
    assert set(found.labels) == {"A", "(none)"}
    assert found.labels["A"].iou == 0.75
    # The third click of all is the one that gets there, and the first one counts.
    assert found.clicks_to == {goal: ClicksToGoal(clicks=3.0, reached=1.0) for goal in ("0.85", "0.90")}
    assert {size: figures.n for size, figures in found.sizes.items()} == {"small": 4}
    assert found.semantic is None


def test_who_never_reaches_the_goal_counts_with_all_clicks(truths: list[np.ndarray], square_sample: Sample) -> None:
    found = report(measure(Painter(truths, needed=9), [square_sample], embedding=_embedding, clicks=2))
    assert found.clicks_to["0.85"] == ClicksToGoal(clicks=3.0, reached=0.0)
    assert report(measure(Painter(truths, needed=9), [square_sample], embedding=_embedding, clicks=0)).clicks_to == {}


def test_what_the_scores_said_is_compared_with_what_the_masks_had(
    truths: list[np.ndarray], square_sample: Sample
) -> None:
    """Boxes: said .5, had 1. Points: said 1.2, which counts as 1, and had .5."""
    measured = measure(Painter(truths, needed=3), [square_sample], embedding=_embedding, clicks=0)
    found = report(measured, calibrated=[row.values["iou"] for row in measured]).calibration
    assert found is not None
    assert found.predicted_iou is not None
    assert found.predicted_iou.ece == pytest.approx(0.5)
    assert found.predicted_iou.correlation == pytest.approx(-1.0)
    assert found.score is not None
    assert found.score.ece == pytest.approx(abs(0.9 - 0.75))
    assert found.score.correlation is None
    assert found.calibrated is not None
    assert found.calibrated.ece == 0.0
    assert report(measured).calibration == found.model_copy(update={"calibrated": None})


def test_the_masks_are_kept_for_the_report(truths: list[np.ndarray], square_sample: Sample) -> None:
    measured = measure(Painter(truths, needed=3), [square_sample], embedding=_embedding, clicks=0)
    assert (measured[2].mask.window(0, 0, height_px=40, width_px=60) == truths[1]).all()
    assert not measured[3].mask.window(0, 0, height_px=20, width_px=60).any()


def test_the_comparison_has_the_shape_that_is_promised(truths: list[np.ndarray], square_sample: Sample) -> None:
    base, candidate = (
        measure(Painter(truths, needed=needed), [square_sample], embedding=_embedding, clicks=7) for needed in (3, 1)
    )
    told = comparison(base, candidate, intervals=differences(base, candidate)).to_json()
    assert (told["images"], told["objects"]) == (1, 2)
    for side in ("base", "candidate"):
        assert set(told[side]) == {
            "box",
            "point",
            "clicks",
            "clicks_to",
            "labels",
            "sizes",
            "calibration",
            "semantic",
        }
        assert set(told[side]["box"]) == {*METRICS, "n"}
        assert list(told[side]["clicks"]) == [str(k) for k in range(8)]
    assert told["difference"]["point"]["iou"] == [0.5, 0.5, 0.5]
    assert told["difference"]["box"]["boundary_iou"] == [0.0, 0.0, 0.0]
    alone = comparison(base, None, intervals=None)
    assert (alone.candidate, alone.difference) == (None, None)
