"""What a ledger's lines say is what was written, also by a version of samloop before lines had versions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.live.lines import ComparedMask, Done, From, Gone, Kept, Line, Seen, parse_line, to_bytes

SHARE = st.floats(0, 1)
MASKS = st.builds(
    ComparedMask, version=st.text(), label=st.text(), iou=SHARE, boundary_iou=SHARE, untouched=st.booleans()
)
NUMBER = st.integers(1, 2**53)
LINES = st.one_of(
    st.builds(Seen, annotation_id=NUMBER, task_id=NUMBER, at=st.text(), process=st.text(), seen_s=st.floats(0, 1e10)),
    st.builds(
        Done,
        annotation_id=NUMBER,
        at=st.text(),
        lead_s=st.none() | st.floats(0, 1e6),
        masks=st.lists(MASKS, max_size=3).map(tuple),
    ),
    st.builds(Kept, annotation_id=NUMBER, at=st.text()),
    st.builds(Gone, annotation_id=NUMBER),
    st.builds(From, id=st.text()),
)
BEFORE_VERSIONS: tuple[tuple[str, Line], ...] = (
    (
        '{"k": "seen", "a": 5, "t": 7, "at": "2026-01-01", "p": "host-1-ab", "s": 1.5}',
        Seen(annotation_id=5, task_id=7, at="2026-01-01", process="host-1-ab", seen_s=1.5),
    ),
    (
        '{"k": "done", "a": 5, "at": "1", "lead_s": null, "m": [["v1", "Coin", 0.9, 0.8, false]]}',
        Done(
            annotation_id=5,
            at="1",
            lead_s=None,
            masks=(ComparedMask(version="v1", label="Coin", iou=0.9, boundary_iou=0.8, untouched=False),),
        ),
    ),
    ('{"k": "kept", "a": 5, "at": "1"}', Kept(annotation_id=5, at="1")),
    ('{"k": "gone", "a": 5}', Gone(annotation_id=5)),
    ('{"k": "from", "id": "ab"}', From(id="ab")),
)


@given(LINES)
def test_a_line_comes_back_from_its_json(line: Line) -> None:
    data = to_bytes(line)
    assert data.endswith(b"\n")
    assert parse_line(json.loads(data)) == line


@pytest.mark.parametrize(("text", "line"), BEFORE_VERSIONS)
def test_lines_without_a_version_say_what_they_always_said(text: str, line: Line) -> None:
    assert parse_line(json.loads(text)) == line


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "gone",
        {},
        {"k": "gone"},
        {"k": ["gone"], "a": 5},
        {"k": "gone", "a": "5"},
        {"k": "done", "a": 5, "at": "1"},
        {"k": "gone", "v": 2, "a": 5},
    ],
)
def test_what_is_no_line_of_ours_says_nothing(value: object) -> None:
    assert parse_line(value) is None


def test_a_mask_that_cannot_be_read_costs_itself_alone() -> None:
    line = parse_line({"k": "done", "a": 5, "at": "1", "m": [["v1"], ["v1", "Coin", 1.0, 1.0, True]]})
    assert isinstance(line, Done)
    assert [mask.version for mask in line.masks] == ["v1"]
