"""Reads the tasks of a file that Label Studio exported, or that it wrote into a target storage."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.errors import BadInput

_HOLDERS = frozenset({"annotations", "completions", "drafts", "predictions"})
_PARTS = _HOLDERS | {"data", "result"}
_BLANKS = re.compile(r"\s*")
_ARCHIVES = {b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip"}  # by their first bytes


def read_export(export: Path) -> list[object]:
    """Return the tasks in a file that Label Studio exported as JSON.

    Several tasks one after another are read too, a task a line or not, and pages of Label Studio's API. What Label
    Studio before 1.0 called `completions` is `annotations` in the result. Annotations with their task in them, as Label
    Studio writes them into a target storage, become tasks. Parts that tables hold as JSON text are read. A task that
    stands twice with all it holds, as Label Studio 1.1 wrote tasks with two annotations, comes once.

    Raises:
        BadInput: the file holds no task, or another format, such as JSON_MIN or COCO.
    """
    rows = _parse_export(export)
    if isinstance(rows, dict) and {"images", "annotations"} <= rows.keys():
        raise BadInput(
            f"{export} is COCO, not Label Studio's JSON: export the project as JSON, or convert the file with "
            "`label-studio-converter import coco`"
        )
    if isinstance(rows, dict) and ("data" in rows or _is_stored(rows)):
        rows = [rows]
    rows = _list_pages(rows)
    if not isinstance(rows, list):
        raise BadInput(f"{export} holds {type(rows).__name__}, not a list of tasks; export the project as JSON")
    if not rows:
        raise BadInput(
            f"{export} holds no task: Label Studio exports annotated tasks alone unless it is told otherwise"
        )
    tasks = _gather_stored([_parse_parts(row) for row in rows])
    if not any(isinstance(task, dict) and "data" in task for task in tasks):
        raise BadInput(
            f"{export} holds no task with `data`: it looks like JSON_MIN, which leaves out where and how regions were "
            "drawn; export the project as JSON"
        )
    return [_rename_completions(task) for task in _drop_repeated(tasks)]


def _parse_export(export: Path) -> object:
    content = export.read_bytes()
    if archive := next((name for start, name in _ARCHIVES.items() if content.startswith(start)), None):
        raise BadInput(f"{export} is a {archive} archive: unpack it, and name the JSON file in it")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as fault:
        try:
            return list(_list_values(content.decode(json.detect_encoding(content))))
        except (ValueError, RecursionError):
            raise BadInput(f"{export} is not JSON: {str(fault)[:200]}; export the project as JSON") from fault


def _list_values(text: str) -> Iterator[object]:
    """Yield every JSON value of a text that holds one after another; of lists, what they hold."""
    decoder, at = json.JSONDecoder(), 0
    text = text.removeprefix("\ufeff").strip()
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        yield from value if isinstance(value, list) else [value]
        blanks = _BLANKS.match(text, end)
        at = end if blanks is None else blanks.end()


def _list_pages(rows: object) -> object:
    """Return the rows without what is around them: a page of Label Studio's API, or lists of several exports."""
    if isinstance(rows, dict):
        return next((rows[key] for key in ("tasks", "results") if isinstance(rows.get(key), list)), rows)
    if isinstance(rows, list) and any(isinstance(row, list) for row in rows):
        lists: list[list[object]] = [row if isinstance(row, list) else [row] for row in rows]
        return [task for tasks in lists for task in tasks]
    return rows


def _parse_parts(row: object) -> object:
    """Return a task or an annotation with its parts read where they are JSON text, as in the cells of a table."""
    if not isinstance(row, dict):
        return row
    parsed = {key: _parse_text(value) if key in _PARTS else value for key, value in row.items()}
    for key, value in parsed.items():
        if key in _HOLDERS and isinstance(value, list):
            parsed[key] = [_parse_parts(holder) for holder in value]
    return parsed


def _parse_text(value: object) -> object:
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_stored(row: object) -> bool:
    """Whether this is an annotation as target storages have it: with its task in it."""
    return (
        isinstance(row, dict)
        and "data" not in row
        and "result" in row
        and isinstance(row.get("task"), dict)
        and "data" in row["task"]
    )


def _gather_stored(rows: list[object]) -> list[object]:
    """Return the tasks of stored annotations, in order, with all their annotations; other rows as they are."""
    tasks: list[object] = []
    by_id: dict[object, dict[str, Any]] = {}
    for row in rows:
        if not isinstance(row, dict) or not _is_stored(row):
            tasks.append(row)
            continue
        task, annotation = row["task"], {name: value for name, value in row.items() if name != "task"}
        key = json.dumps(task.get("id", task["data"]), sort_keys=True)
        if key not in by_id:
            by_id[key] = {**task, "annotations": []}
            tasks.append(by_id[key])
        by_id[key]["annotations"].append(annotation)
    return tasks


def _drop_repeated(tasks: list[object]) -> Iterator[object]:
    """Yield the tasks without those that equal an earlier task of the same id; projects may share ids."""
    earlier: dict[object, list[object]] = {}
    for task in tasks:
        task_id = task.get("id") if isinstance(task, dict) else None
        if isinstance(task_id, int | str):
            alike = earlier.setdefault(task_id, [])
            if task in alike:
                continue
            alike.append(task)
        yield task


def _rename_completions(task: object) -> object:
    """Return a task of Label Studio before 1.0 with today's names."""
    if not isinstance(task, dict) or "completions" not in task or "annotations" in task:
        return task
    return {**task, "annotations": [_rename_marks(completion) for completion in task["completions"] or []]}


def _rename_marks(completion: object) -> object:
    if not isinstance(completion, dict):
        return completion
    marks = {"was_cancelled": completion.get("skipped"), "ground_truth": completion.get("honeypot")}
    return {**completion, **{name: mark for name, mark in marks.items() if mark and not completion.get(name)}}
