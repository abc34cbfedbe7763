"""Events are read as Label Studio sends them; a project is a number and nothing else."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd_values import JSON, ODD, Place, list_places, put
from support.payloads import read_payload

from backend.errors import BadInput
from backend.labelstudio.webhook import AnnotationChange, Event, annotation_changes, parse_event


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("40-webhook-START_TRAINING", Event("START_TRAINING", 1)),
        ("41-webhook-ANNOTATION_CREATED", Event("ANNOTATION_CREATED", 3)),
        ("43-webhook-ANNOTATIONS_DELETED", Event("ANNOTATIONS_DELETED", 3)),
    ],
)
def test_recorded_events_are_read(name: str, event: Event) -> None:
    assert parse_event(read_payload(f"{name}.json")) == event


def test_only_start_training_starts_a_training_and_annotations_are_told_apart() -> None:
    assert parse_event({"action": "START_TRAINING", "project": "7.123"}).starts_training
    assert not parse_event({"action": "ANNOTATION_CREATED", "project": {"id": 7}}).starts_training
    assert parse_event({"action": "ANNOTATION_CREATED", "project": {"id": 7}}).changes_annotations
    assert parse_event({"action": "SOMETHING_NEW"}) == Event("SOMETHING_NEW", None)


@pytest.mark.parametrize("body", [None, [], "x", 5, {}, {"action": None}, {"action": "a b"}, {"action": "X" * 65}])
def test_a_body_without_an_action_is_refused(body: Any) -> None:
    with pytest.raises(BadInput, match="action"):
        parse_event(body)


@pytest.mark.parametrize("project", [{}, {"id": "../../x"}, [], "x"])
def test_a_project_without_a_number_is_refused_or_absent(project: Any) -> None:
    if project == {}:
        assert parse_event({"action": "START_TRAINING", "project": project}).project_id is None
        return
    with pytest.raises(BadInput, match="not a project's number"):
        parse_event({"action": "START_TRAINING", "project": project})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("40-webhook-START_TRAINING", ()),
        ("41-webhook-ANNOTATION_CREATED", (AnnotationChange(1, 1506, "2026-11-23T07:35:07.312135Z"),)),
        ("42-webhook-ANNOTATION_UPDATED", (AnnotationChange(1, 1506, "2026-11-23T07:35:07.956073Z"),)),
        ("43-webhook-ANNOTATIONS_DELETED", (AnnotationChange(1, None),)),
        ("47-webhook-ANNOTATION_CREATED-from-prediction", (AnnotationChange(4, 1506, "2026-11-23T07:36:06.686046Z"),)),
        ("48-webhook-ANNOTATIONS_CREATED-bulk", (AnnotationChange(5, 1507, "2026-11-23T07:36:07.263942Z"),)),
    ],
)
def test_recorded_events_tell_which_annotation_of_which_task(name: str, changes: tuple[AnnotationChange, ...]) -> None:
    assert annotation_changes(read_payload(f"{name}.json")) == changes


@pytest.mark.parametrize(
    "row", [None, 5, {}, {"id": 1}, {"id": True, "task": 2}, {"id": "1", "task": 2}, {"id": 1, "task": -2}, {"id": 1e3}]
)
def test_a_row_that_does_not_say_which_annotation_is_left_out(row: Any) -> None:
    assert annotation_changes({"action": "ANNOTATION_CREATED", "annotation": row}) == ()
    body = {"action": "ANNOTATIONS_CREATED", "annotation": [row, {"id": 3, "task": 4, "updated_at": 7}]}
    assert annotation_changes(body) == (AnnotationChange(3, 4, "7"),)


ROW = {"id": 3, "task": 4, "project": 7, "updated_at": "2026-01-05"}
CHANGE, GONE = AnnotationChange(3, 4, "2026-01-05"), AnnotationChange(3, None)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({"action": "ANNOTATIONS_CREATED", "annotations": [ROW]}, (CHANGE,)),
        ({"action": "ANNOTATION_CREATED", "annotation": {**ROW, "task": {"id": 4}}}, (CHANGE,)),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [3, {"id": 5}]}, (GONE, AnnotationChange(5, None))),
        ({"action": "ANNOTATIONS_DELETED", "annotation": {"id": 3}}, (GONE,)),
        ({"action": "ANNOTATION_DELETED", "annotation": {"id": 3}}, (GONE,)),
        ({"action": "ANNOTATION_DELETED", "annotation": 3}, (GONE,)),
        ({"action": "ANNOTATION_UPDATED", "annotation": 3}, ()),
        ({"action": "ANNOTATION_UPDATED"}, ()),
        ({"action": "REVIEW_CREATED", "annotation": ROW}, ()),
    ],
)
def test_other_forms_of_an_event_tell_the_same_annotations(
    body: dict[str, Any], changes: tuple[AnnotationChange, ...]
) -> None:
    assert annotation_changes(body) == changes


@pytest.mark.parametrize(
    ("body", "project_id"),
    [
        ({"project": 8, "annotation": ROW}, 8),
        ({"project": {"id": "8"}, "annotation": ROW}, 8),
        ({"project": None, "annotation": ROW}, 7),
        ({"project": {"id": None}, "annotation": [ROW]}, 7),
        ({"annotation": {"id": 3}, "task": {"id": 4, "project": 7}}, 7),
        ({"annotations": [3]}, None),
    ],
)
def test_an_event_belongs_to_the_project_that_it_names_or_else_to_its_annotations(
    body: dict[str, Any], project_id: int | None
) -> None:
    assert parse_event({"action": "ANNOTATION_UPDATED", **body}).project_id == project_id


def test_a_skipped_annotation_is_one_that_is_gone() -> None:
    body = {"action": "ANNOTATION_UPDATED", "annotation": {"id": 3, "task": 4, "was_cancelled": True}}
    assert annotation_changes(body) == (AnnotationChange(3, None),)


RECORDED = [read_payload(f"{name}.json") for name in ("40-webhook-START_TRAINING", "41-webhook-ANNOTATION_CREATED")]
CHANGES = [(body, place) for body in RECORDED for place in list_places(body, most=1)]


@settings(max_examples=200)
@given(change=st.sampled_from(CHANGES), odd=st.sampled_from(ODD) | JSON)
def test_whatever_stands_in_a_recorded_event_it_is_read_or_refused(change: tuple[Any, Place], odd: object) -> None:
    body = put(*change, odd)
    with contextlib.suppress(BadInput):
        event = parse_event(body)
        assert event.project_id is None or event.project_id > 0
        assert all(changed.annotation_id > 0 for changed in annotation_changes(body))
