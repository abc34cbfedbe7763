"""When a candidate may be served, and what is said about it."""

from collections.abc import Mapping

import pytest
from support.documents import DOCS

from backend.registry.figures import Interval
from backend.registry.metrics import Verdict
from finetuner.deciding.promotion import LABEL_FALL, LABEL_OBJECTS, Rival, judge
from finetuner.measuring.comparison import LEAST_GAIN, MARGIN

GAIN, SAME, WORSE = Interval(0.1, 0.05, 0.15), Interval(0.0, -0.01, 0.01), Interval(-0.05, -0.08, -0.02)
UNSURE = Interval(0.05, -0.01, 0.12)
LABELS = {"Disc": {key: {"iou": 0.8, "n": 20.0} for key in ("box", "point")}}


def _rival(
    box: Interval,
    point: Interval,
    *,
    name: str = "mobile-sam",
    boundary: Mapping[str, Interval] | None = None,
    disc: Interval = SAME,
    disc_point: Interval | None = None,
    labels: Mapping[str, Mapping[str, Mapping[str, float]]] = LABELS,
) -> Rival:
    found = {"box": dict.fromkeys(("iou", "boundary_iou", "hd95_px"), box), "point": {"iou": point, "hd95_px": WORSE}}
    found["point"]["boundary_iou"] = point
    for prompt, interval in (boundary or {}).items():
        found[prompt]["boundary_iou"] = interval
    by_label = {"Disc": {"box": {"iou": disc}, "point": {"iou": disc_point or disc}}}
    return Rival(name=name, by_prompt=found, by_label=by_label, labels=labels)


def _said(verdict: Verdict) -> str:
    assert verdict.to_json() == {"promote": verdict.promote, "reasons": list(verdict.reasons)}
    return verdict.sentence


def test_a_sure_gain_with_points_and_none_lost_with_boxes_is_promoted() -> None:
    verdict = judge(_rival(SAME, GAIN))
    assert verdict.promote
    assert _said(verdict) == (
        "IoU against mobile-sam: box prompts +0.000 [-0.010, +0.010] (the same), "
        "point prompts +0.100 [+0.050, +0.150] (better); "
        "Boundary IoU against mobile-sam: box prompts +0.000 [-0.010, +0.010] (the same), "
        "point prompts +0.100 [+0.050, +0.150] (better)"
    )


def test_a_sure_gain_with_boxes_alone_is_enough() -> None:
    assert judge(_rival(GAIN, SAME)).promote


def test_a_gain_that_may_be_chance_is_not_promoted() -> None:
    verdict = judge(_rival(SAME, UNSURE))
    assert not verdict.promote
    assert verdict.reasons[0] == "no certain gain over mobile-sam"
    assert "point prompts +0.050 [-0.010, +0.120] (perhaps better)" in _said(verdict)


def test_a_gain_with_points_does_not_pay_for_a_loss_with_boxes() -> None:
    verdict = judge(_rival(WORSE, GAIN))
    assert not verdict.promote
    assert verdict.reasons[0] == (
        "box prompts may be worse than mobile-sam's: IoU -0.050 [-0.080, -0.020]; "
        "the interval must stay above -0.020, the mean above -0.010"
    )
    # What it had gained is told too: the annotator may want it all the same.
    assert (
        "Boundary IoU against mobile-sam: box prompts -0.050 [-0.080, -0.020] (worse), "
        "point prompts +0.100 [+0.050, +0.150] (better)"
    ) in _said(verdict)


def test_an_interval_that_reaches_too_low_is_enough_to_refuse() -> None:
    verdict = judge(_rival(Interval(0.01, -0.021, 0.04), GAIN))
    assert not verdict.promote
    assert "box prompts may be worse" in _said(verdict)


def test_iou_alone_is_not_enough_where_the_boundary_falls() -> None:
    assert not judge(_rival(SAME, GAIN, boundary={"point": Interval(-0.001, -0.01, 0.01)})).promote


def test_what_beats_a_bad_champion_must_still_not_be_worse_than_the_base() -> None:
    verdict = judge(_rival(SAME, GAIN, name="v3"), base=_rival(WORSE, GAIN, name="the base model"))
    assert not verdict.promote
    assert "box prompts may be worse than the base model's" in _said(verdict)
    assert "against v3: box" in _said(verdict)


@pytest.mark.parametrize("is_base", [False, True])
def test_no_label_may_fall_through_its_floor(is_base: bool) -> None:
    fallen = _rival(SAME, GAIN, disc=Interval(-0.1, -0.14, -0.02))
    verdict = judge(_rival(SAME, GAIN, name="v3"), base=fallen) if is_base else judge(fallen)
    assert not verdict.promote
    assert (
        "label 'Disc' lost more than 0.05 IoU with box prompts against mobile-sam: 0.800 -> 0.700, "
        "-0.100 [-0.140, -0.020]"
    ) in verdict.reasons


def test_what_a_label_gains_with_points_does_not_pay_for_what_it_loses_with_boxes() -> None:
    verdict = judge(_rival(SAME, GAIN, disc=Interval(-0.1, -0.14, -0.02), disc_point=Interval(0.2, 0.1, 0.3)))
    assert not verdict.promote
    assert next(reason for reason in verdict.reasons if reason.startswith("label")).startswith(
        "label 'Disc' lost more than 0.05 IoU with box prompts against mobile-sam: 0.800 -> 0.700"
    )
    assert not any("IoU with point prompts" in reason for reason in verdict.reasons)


def test_a_label_may_move_a_little() -> None:
    assert judge(_rival(SAME, GAIN, disc=Interval(-0.04, -0.1, 0.02))).promote


def test_a_label_with_few_objects_says_nothing() -> None:
    rare = {"Disc": {key: {"iou": 0.8, "n": 4.0} for key in ("box", "point")}}
    assert judge(_rival(SAME, GAIN, disc=Interval(-0.7, -0.7, -0.7), labels=rare)).promote


def test_a_fault_speaks_against_the_best_figures() -> None:
    verdict = judge(_rival(GAIN, GAIN), faults=("3 of 9 trained weights have values that are not finite, a first",))
    assert not verdict.promote
    assert verdict.reasons[0].startswith("3 of 9 trained weights")


def test_the_page_of_guarantees_names_the_bounds_of_the_rule() -> None:
    page = (DOCS / "guarantees.md").read_text()
    assert f"rise by at least {LEAST_GAIN}" in page
    assert f"fall by more than {MARGIN / 2}, and no 95 % interval reaches below -{MARGIN}" in page
    assert f"at least {LABEL_OBJECTS} held-out objects loses more than {LABEL_FALL} of IoU" in page
