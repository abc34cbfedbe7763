"""Figures are numbers or None, on disk as in memory."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backend.registry.figures import (
    METRICS,
    PROMPTS,
    Believability,
    Bin,
    Comparison,
    Interval,
    MaskFigures,
    ModelFigures,
    ScoreFigures,
)

NUMBERS = st.floats(-1e6, 1e6)
FIGURES = st.none() | NUMBERS
MASKS = st.builds(MaskFigures, **dict.fromkeys(METRICS, FIGURES), n=st.integers(0, 10**6))
INTERVALS = st.builds(Interval, NUMBERS, NUMBERS, NUMBERS)
BELIEVABILITY = st.builds(
    Believability, n=st.integers(0, 99), ece=FIGURES, bins=st.lists(st.builds(Bin, st.integers(0, 9), NUMBERS, NUMBERS))
)
MODELS = st.builds(
    ModelFigures,
    box=st.none() | MASKS,
    point=st.none() | MASKS,
    clicks=st.dictionaries(st.integers(0, 20), FIGURES),
    labels=st.dictionaries(st.text(), MASKS, max_size=3),
    calibration=st.none() | st.builds(ScoreFigures, score=BELIEVABILITY),
)
COMPARISONS = st.builds(
    Comparison,
    images=st.none() | st.integers(0, 99),
    base=st.none() | MODELS,
    candidate=st.none() | MODELS,
    difference=st.none() | st.dictionaries(st.sampled_from(PROMPTS), st.dictionaries(st.text(), INTERVALS)),
)


@given(COMPARISONS)
def test_a_comparison_reads_back_as_it_was_written(comparison: Comparison) -> None:
    assert Comparison.model_validate(json.loads(json.dumps(comparison.to_json()))) == comparison


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_figure_that_is_not_a_finite_number_is_none(value: float | None) -> None:
    assert MaskFigures(iou=value).iou is None
    assert json.dumps(MaskFigures(iou=value).to_json(), allow_nan=False)


def test_an_interval_that_was_not_measured_is_left_out() -> None:
    nothing, something = Interval(math.nan, math.nan, math.nan), Interval(0.1, 0.0, 0.2)
    comparison = Comparison(difference={"box": {"iou": nothing, "dice": something}})
    assert comparison.difference == {"box": {"dice": something}}
    read = Comparison.model_validate({"difference": {"box": {"iou": [None, None, None], "dice": [0.1, 0, 0.2]}}})
    assert read == comparison


@pytest.mark.parametrize("value", ["0.5", True, [0.5]])
def test_a_figure_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        MaskFigures.model_validate({"iou": value})


def test_a_prompt_that_was_not_measured_has_figures_without_values() -> None:
    assert ModelFigures().with_prompt("point") == MaskFigures()
    assert MaskFigures(dice=0.5).figure("dice") == 0.5
    assert Comparison().model("served") is None


def test_figures_of_a_semantic_head_go_to_the_model_that_has_it() -> None:
    semantic = MaskFigures(iou=0.5, n=3)
    comparison = Comparison(base=ModelFigures(), candidate=ModelFigures()).with_semantic(candidate=semantic)
    assert comparison.candidate == ModelFigures(semantic=semantic)
    assert comparison.base == ModelFigures()
    assert Comparison().with_semantic(candidate=semantic) == Comparison()
