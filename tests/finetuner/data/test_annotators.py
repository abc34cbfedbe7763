"""Whose annotation of a task counts."""

import itertools
from typing import Any

import pytest

from finetuner.data.annotators import counting_annotations
from finetuner.data.exclusions import Exclusions

Json = dict[str, Any]
DRAWN = [{"id": "r"}]


def _annotation(number: int, *, by: object = None, **fields: Any) -> Json:
    """Annotations with higher numbers are later."""
    return {"id": number, "completed_by": by, "result": DRAWN, "updated_at": f"2026-01-{number:02}T00:00:00Z", **fields}


def _counting(annotations: list[Json], annotators: str) -> tuple[list[object], dict[str, int]]:
    exclusions = Exclusions()
    found = counting_annotations({"id": 7, "annotations": annotations}, annotators=annotators, exclusions=exclusions)
    return [annotation.annotation_id for annotation in found], {row.reason: row.count for row in exclusions.by_reason()}


def test_the_latest_counts_alone_whoever_drew_it() -> None:
    given = [_annotation(1, by=1), _annotation(3, by=2), _annotation(2, by=1)]
    assert _counting(given, "latest") == ([3], {"a later annotation of the same task counts": 2})


def test_of_every_annotator_the_latest_votes() -> None:
    given = [_annotation(1, by=1), _annotation(3, by={"id": 2, "email": "x"}), _annotation(2, by=1), _annotation(4)]
    found, reasons = _counting(given, "majority")
    assert sorted(map(str, found)) == ["2", "3", "4"]
    assert reasons == {"a later annotation of the same task by the same annotator counts": 1}


@pytest.mark.parametrize("annotators", ["latest", "majority"])
def test_the_order_of_annotations_in_the_answer_is_nothing(annotators: str) -> None:
    given = [_annotation(1, by=1), _annotation(2, by=2, ground_truth=True), _annotation(3, by=2), _annotation(4, by=3)]
    results = {str(_counting(list(order), annotators)) for order in itertools.permutations(given)}
    assert len(results) == 1


def test_the_latest_is_told_across_time_zones_and_by_its_creation() -> None:
    early, late = _annotation(9, updated_at="2026-06-01T01:00:00+05:00"), _annotation(1, updated_at="2026-05-31T22:00Z")
    assert _counting([early, late], "latest")[0] == [1]
    early, late = ({"id": number, "result": DRAWN, "created_at": time} for number, time in ((9, 1e9), (1, 2e9)))
    assert _counting([early, late], "latest")[0] == [1]


def test_an_export_with_the_ids_of_annotations_alone_is_told() -> None:
    found, (reason,) = _counting([5, 6], "latest")  # type: ignore[list-item]
    assert (found, reason) == ([], "annotations without their regions; export them in full, not their ids alone")


def test_ground_truth_comes_before_what_is_later() -> None:
    given = [_annotation(1, ground_truth=True), _annotation(2, ground_truth=True), _annotation(3)]
    found, reasons = _counting(given, "latest")
    assert found == [2]
    assert reasons == {
        "a later annotation of the same task counts": 1,
        "a ground-truth annotation of the same task counts": 1,
    }


def test_who_submitted_nothing_votes_only_where_somebody_drew() -> None:
    nothing = _annotation(2, by=2, result=[])
    assert _counting([_annotation(1, by=1), nothing], "majority") == ([2, 1], {})
    assert _counting([nothing], "majority") == ([], {"an annotation without any region": 1})
    assert _counting([_annotation(1, by=1), nothing], "latest")[0] == []


def test_skipped_ones_and_drafts_never_count() -> None:
    given = [_annotation(1, by=1), _annotation(2, by=2, was_cancelled=True)]
    for annotators in ("latest", "majority"):
        assert _counting(given, annotators) == ([1], {"the annotator skipped the task": 1})
    exclusions = Exclusions()
    task = {"id": 7, "annotations": [], "drafts": [{"id": 1}]}
    assert counting_annotations(task, annotators="majority", exclusions=exclusions) == ()
    assert exclusions.sentence() == "1 x only a draft"


def test_a_picture_that_was_submitted_empty_counts_where_somebody_learns_from_that() -> None:
    for result in ([], [{"type": "choices", "value": {"choices": ["nothing on it"]}}]):
        task = {"id": 7, "annotations": [_annotation(1, result=result)]}
        (found,) = counting_annotations(task, annotators="latest", exclusions=Exclusions(), empty_counts=True)
        assert found.is_empty


def test_a_skipped_task_and_a_region_that_is_no_mask_are_not_empty() -> None:
    skipped = {"id": 7, "annotations": [_annotation(1, result=[], was_cancelled=True)]}
    assert counting_annotations(skipped, annotators="latest", exclusions=Exclusions(), empty_counts=True) == ()
    prompt = {"id": 7, "annotations": [_annotation(1, result=[{"type": "keypointlabels", "value": {}}])]}
    (found,) = counting_annotations(prompt, annotators="latest", exclusions=Exclusions(), empty_counts=True)
    assert not found.is_empty


@pytest.mark.parametrize("mark", [True, 1, 1.0, "True", "true"])
def test_a_mark_is_set_however_a_table_writes_it(mark: object) -> None:
    given = [_annotation(1, ground_truth=mark), _annotation(2), _annotation(3, was_cancelled=mark)]
    assert _counting(given, "latest")[0] == [1]


@pytest.mark.parametrize("mark", [False, 0, 0.0, "False", "", None, float("nan")])
def test_a_mark_is_not_set_however_a_table_writes_that(mark: object) -> None:
    given = [_annotation(1, ground_truth=mark), _annotation(2, was_cancelled=mark, ground_truth=mark)]
    assert _counting(given, "latest")[0] == [2]
