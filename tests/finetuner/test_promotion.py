"""When a candidate may be served, and what is said about it."""

from finetuner.evaluation import Interval
from finetuner.promotion import judge

Found = dict[str, dict[str, Interval]]
LABELS = {"Disc": {"iou": 0.8, "n": 20.0}}


def _found(box: Interval, point: Interval) -> Found:
    metrics = ("iou", "dice", "boundary_iou")
    return {"box": dict.fromkeys(metrics, box), "point": dict.fromkeys(metrics, point)}


GAIN, SAME, WORSE = Interval(0.1, 0.05, 0.15), Interval(0.0, -0.01, 0.01), Interval(-0.05, -0.08, -0.02)
UNSURE = Interval(0.05, -0.01, 0.12)


def _judge(
    found: Found, *, labels: dict[str, dict[str, float]] = LABELS, base: Found | None = None
) -> tuple[bool, str]:
    verdict = judge(found, served="mobile-sam", served_labels=LABELS, candidate_labels=labels, against_base=base)
    assert verdict.to_json() == {"promote": verdict.promote, "reasons": list(verdict.reasons)}
    return verdict.promote, verdict.sentence


def test_a_sure_gain_with_points_and_none_lost_with_boxes_is_promoted() -> None:
    promoted, why = _judge(_found(SAME, GAIN))
    assert promoted
    assert "better than mobile-sam with a point" in why
    assert "Boundary IoU +0.100 [+0.050, +0.150]" in why


def test_a_sure_gain_with_boxes_alone_is_enough() -> None:
    assert _judge(_found(GAIN, SAME))[0]


def test_a_gain_that_may_be_chance_is_not_promoted() -> None:
    promoted, why = _judge(_found(SAME, UNSURE))
    assert not promoted
    assert why.startswith("no sure gain over mobile-sam: box IoU +0.000")


def test_a_gain_with_points_does_not_pay_for_a_loss_with_boxes() -> None:
    promoted, why = _judge(_found(WORSE, GAIN))
    assert not promoted
    assert "worse than mobile-sam with a box: IoU -0.050 [-0.080, -0.020]" in why
    assert "better" not in why


def test_iou_alone_is_not_enough_where_the_boundary_falls() -> None:
    found = _found(SAME, GAIN)
    found["point"]["boundary_iou"] = Interval(-0.001, -0.01, 0.01)
    assert not _judge(found)[0]


def test_what_beats_a_bad_champion_must_still_not_be_worse_than_the_base() -> None:
    promoted, why = _judge(_found(SAME, GAIN), base=_found(WORSE, GAIN))
    assert not promoted
    assert "worse than the base model with a box" in why


def test_no_label_may_fall() -> None:
    promoted, why = _judge(_found(SAME, GAIN), labels={"Disc": {"iou": 0.7, "n": 20.0}})
    assert not promoted
    assert "label 'Disc' falls below mobile-sam: IoU 0.800 -> 0.700" in why


def test_a_label_with_few_objects_says_nothing() -> None:
    rare = {"Disc": {"iou": 0.8, "n": 4.0}}
    verdict = judge(
        _found(SAME, GAIN), served="x", served_labels=rare, candidate_labels={"Disc": {"iou": 0.1, "n": 4.0}}
    )
    assert verdict.promote
