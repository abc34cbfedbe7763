"""The tasks of a file are read as Label Studio writes them, today or before, or are refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadInput
from backend.labelstudio.export_file import read_export

TASK = {"id": 1, "data": {"image": "/a.png"}, "annotations": [{"id": 7, "result": []}]}


def read(written: object, folder: Path) -> list[Any]:
    path = folder / "export.json"
    path.write_text(written if isinstance(written, str) else json.dumps(written))
    return read_export(path)


@pytest.mark.parametrize(
    "written",
    [
        [TASK],
        TASK,
        json.dumps(TASK) + "\n\n",
        "\ufeff" + json.dumps([TASK], indent=2),
        json.dumps([TASK]) + "\n" + json.dumps([]),
    ],
)
def test_a_task_is_read_alone_in_a_list_and_a_line(written: object, tmp_path: Path) -> None:
    assert read(written, tmp_path) == [TASK]


@pytest.mark.parametrize(
    "written", [{"tasks": [TASK], "total": 1}, {"count": 1, "next": None, "results": [TASK]}, [[TASK], []]]
)
def test_a_page_of_the_api_and_several_exports_in_a_list_are_read(written: object, tmp_path: Path) -> None:
    assert read(written, tmp_path) == [TASK]


@pytest.mark.parametrize(
    "task",
    [
        {**TASK, "data": json.dumps(TASK["data"])},
        {**TASK, "annotations": json.dumps(TASK["annotations"])},
        {**TASK, "annotations": json.dumps([{"id": 7, "result": "[]"}])},
        {**TASK, "annotations": [{"id": 7, "result": " []"}]},
    ],
    ids=["data", "annotations", "results in them", "result"],
)
def test_parts_that_a_table_holds_as_text_are_read(task: object, tmp_path: Path) -> None:
    """Label Studio's editor reads a result that is text too."""
    assert read([task], tmp_path) == [TASK]
    broken = {**TASK, "annotations": [{"id": 7, "result": "[{'id"}]}
    assert read([broken], tmp_path) == [broken]


@pytest.mark.parametrize("between", ["\n", "", "\r\n\r\n"])
def test_tasks_one_after_another_are_read(between: str, tmp_path: Path) -> None:
    tasks = [TASK, {**TASK, "id": 2}]
    assert read(between.join(json.dumps(task, indent=2) for task in tasks), tmp_path) == tasks


def test_a_task_that_stands_twice_comes_once_and_tasks_of_two_projects_both(tmp_path: Path) -> None:
    """label-studio#1289: of a task with two annotations, the export had two copies."""
    other = {**TASK, "data": {"image": "/b.png"}}
    converted = {"data": TASK["data"], "annotations": []}  # without an id
    assert read([TASK, other, TASK, converted, converted], tmp_path) == [TASK, other, converted, converted]


def test_annotations_of_a_target_storage_become_tasks(tmp_path: Path) -> None:
    """Label Studio writes an annotation a file there, with its task in it (label-studio#5601)."""
    task = {"id": 5, "data": {"image": "/a.png"}}
    first, second = ({"id": number, "result": [], "completed_by": {"id": 1}} for number in (1, 2))
    other = {"id": 3, "result": [], "task": {"data": {"image": "/b.png"}}}
    tasks = read([{**first, "task": task}, other, {**second, "task": task}], tmp_path)
    assert tasks == [
        {**task, "annotations": [first, second]},
        {"data": {"image": "/b.png"}, "annotations": [{"id": 3, "result": []}]},
    ]
    assert read({**first, "task": task}, tmp_path) == [{**task, "annotations": [first]}]


def test_marks_of_label_studio_before_1_0_have_todays_names(tmp_path: Path) -> None:
    completions = [{"id": 1, "skipped": True}, {"id": 2, "honeypot": True}, {"id": 3, "was_cancelled": False}, None]
    (task,) = read([{"id": 1, "data": {}, "completions": completions}], tmp_path)
    skipped, truth, plain, nothing = task["annotations"]
    assert skipped["was_cancelled"] is True
    assert truth["ground_truth"] is True
    assert (plain, nothing) == (completions[2], None)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ([{"id": 1, "image": "/a.png", "annotation_id": 2}], r"looks like JSON_MIN.*; export the project as JSON"),
        ({"images": [], "annotations": [], "categories": []}, "is COCO, not Label Studio's JSON"),
        ([], "holds no task: Label Studio exports annotated tasks alone"),
        ({"tasks": []}, "holds no task"),
        ({"rows": [TASK]}, "holds dict, not a list of tasks"),
        ("5", "holds int, not a list of tasks"),
        ("id,image\n1,/a.png\n", "is not JSON: .*; export the project as JSON"),
        ("[" * 200_000, "is not JSON"),
    ],
)
def test_another_format_is_refused_with_what_to_do(written: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says):
        read(written, tmp_path)
