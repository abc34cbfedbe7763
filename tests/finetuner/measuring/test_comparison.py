"""Paired differences, and the bootstrap over images."""

import numpy as np
import pytest

from backend.masks.packed import KeptMask
from finetuner.measuring.comparison import differences, label_differences
from finetuner.measuring.evaluation import METRICS, Measured

NOTHING = KeptMask.of(np.zeros((1, 1), bool))


def _measured(image: str, value: float, *, label: str = "A") -> list[Measured]:
    return [
        Measured(
            image_sha256=image,
            label=label,
            size="small",
            prompt=prompt,
            values=dict.fromkeys(METRICS, value),
            score=0.5,
            predicted_iou=0.5,
            mask=NOTHING,
            clicks_iou=(value,),
        )
        for prompt in ("box", "point")
    ]


def test_the_bootstrap_draws_images_and_weighs_them_by_their_objects() -> None:
    """One image with nine objects that gain, nine images whose only object loses: the mean is in between."""
    base = _measured("many", 0.5) * 9 + [row for n in range(9) for row in _measured(f"few{n}", 0.5)]
    candidate = _measured("many", 0.7) * 9 + [row for n in range(9) for row in _measured(f"few{n}", 0.4)]
    found = differences(base, candidate)["box"]["iou"]
    assert found.mean == pytest.approx(0.05)
    # Over objects the interval would be a third as wide: the nine of one image are no nine witnesses.
    assert found.low == pytest.approx(-0.1)
    assert found.high > 0.1
    assert differences(base, candidate, seed=0) == differences(base, candidate, seed=0)


def test_a_sure_gain_has_an_interval_above_zero() -> None:
    rng = np.random.default_rng(0)
    base = [row for n in range(20) for row in _measured(str(n), 0.5)]
    candidate = [row for n in range(20) for row in _measured(str(n), 0.6 + float(rng.normal(0, 0.05)))]
    found = differences(base, candidate)["point"]["boundary_iou"]
    assert 0.05 < found.low < found.mean < found.high < 0.15


def test_every_label_has_its_own_interval() -> None:
    base = [row for n in range(6) for label in "AB" for row in _measured(str(n), 0.5, label=label)]
    candidate = [
        row for n in range(6) for label, iou in (("A", 0.7), ("B", 0.4)) for row in _measured(str(n), iou, label=label)
    ]
    found = label_differences(base, candidate)
    assert found["A"]["box"]["iou"] == pytest.approx((0.2, 0.2, 0.2))
    assert found["B"]["point"]["boundary_iou"] == pytest.approx((-0.1, -0.1, -0.1))


def test_what_was_measured_on_other_objects_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="not measured on the same objects in the same order"):
        differences(_measured("a", 0.5), _measured("b", 0.5))
