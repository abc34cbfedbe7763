"""Isotonic maps against pooling written out by hand, and calibration errors made by hand."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from backend.registry.figures import Believability
from backend.registry.metrics import CheckpointMetrics
from finetuner.measuring.calibration import LEAST_PREDICTIONS, believability, fit

pairs = st.lists(
    st.tuples(st.integers(-20, 140).map(lambda n: n / 100), st.integers(0, 1000).map(lambda n: n / 1000)),
    min_size=LEAST_PREDICTIONS,
    max_size=60,
)


def _columns(found: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array(found, np.float64)
    return values[:, 0], values[:, 1]


def pooled(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Pool-adjacent-violators as the textbook has it: the mean prediction and the mean IoU of every pool."""
    pools: list[list[int]] = []
    for value in np.unique(x):
        pools.append(np.flatnonzero(x == value).tolist())
        while len(pools) > 1 and y[pools[-2]].mean() >= y[pools[-1]].mean():
            last = pools.pop()
            pools[-1] += last
    return [(float(x[pool].mean()), float(y[pool].mean())) for pool in pools]


@given(found=pairs)
def test_the_map_is_what_pooling_adjacent_violators_by_hand_gives(found: list[tuple[float, float]]) -> None:
    x, y = _columns(found)
    calibration = fit(x, y)
    assert calibration is not None
    places, values = zip(*pooled(x, y), strict=True)
    assume(len(values) == len(calibration.y))  # pools that are equal but for rounding may be one or two
    probe = np.linspace(-0.5, 1.5, 41).tolist()
    assert [calibration(place) for place in probe] == pytest.approx(np.interp(probe, places, values), abs=1e-6)


@given(found=pairs)
def test_a_map_rises_stays_within_zero_and_one_and_survives_the_manifest(found: list[tuple[float, float]]) -> None:
    calibration = fit(*_columns(found))
    assert calibration is not None
    assert (np.diff(calibration.x) > 0).all()
    assert (np.diff(calibration.y) >= 0).all()
    expected = [calibration(place) for place in np.linspace(-1.0, 2.0, 50).tolist()]
    assert 0 <= min(expected) <= max(expected) <= 1
    assert (np.diff(expected) >= 0).all()
    written = CheckpointMetrics(calibration=calibration).to_json()
    assert CheckpointMetrics.from_json(json.loads(json.dumps(written))).calibration == calibration


def test_an_overconfident_head_is_brought_down() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.3, 0.9, 4000)
    said = np.clip(true + 0.2 + rng.normal(0, 0.03, 4000), None, 1.3)
    calibration = fit(said[:2000], true[:2000])
    assert calibration is not None
    expected = np.array([calibration(score) for score in said[2000:].tolist()])
    before, after = believability(said[2000:], true[2000:]), believability(expected, true[2000:])
    assert before.ece is not None
    assert after.ece is not None
    assert before.ece > 0.1
    assert after.ece < 0.02
    assert after.rank_correlation == pytest.approx(before.rank_correlation, abs=0.05)


def test_too_few_predictions_or_none_that_are_numbers_make_no_map() -> None:
    few = np.linspace(0, 1, LEAST_PREDICTIONS - 1)
    assert fit(few, few) is None
    assert fit(np.full(100, np.nan), np.ones(100)) is None


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    """Three say .95 and have .55; one says .15 and has .25: (3 * .4 + .1) / 4."""
    found = believability(np.array([0.95, 0.95, 0.95, 0.15]), np.array([0.5, 0.55, 0.6, 0.25]))
    assert found.ece == pytest.approx((3 * 0.4 + 0.1) / 4)
    assert found.bins == (
        (1, pytest.approx(0.15), pytest.approx(0.25)),
        (3, pytest.approx(0.95), pytest.approx(0.55)),
    )


@given(found=pairs)
def test_correlations_are_scipys(found: list[tuple[float, float]]) -> None:
    score, true = np.clip(_columns(found)[0], 0, 1), _columns(found)[1]
    told = believability(score, true)
    if min(np.ptp(score), np.ptp(true)) < 1e-3:
        return
    assert told.correlation == pytest.approx(stats.pearsonr(score, true).statistic, abs=1e-6)
    assert told.rank_correlation == pytest.approx(stats.spearmanr(score, true).statistic, abs=1e-6)


def test_a_constant_score_has_no_correlation() -> None:
    found = believability(np.full(5, 0.5), np.linspace(0, 1, 5))
    assert (found.correlation, found.rank_correlation) == (None, None)
    assert believability(np.zeros(0), np.zeros(0)) == Believability()
