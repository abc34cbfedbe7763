"""What analysts say of masks is kept over restarts, by any number of processes, and is no formula in a spreadsheet."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, Unavailable
from backend.registry.state import StateDir
from backend.review.flags import Flag, Flags, as_csv, count_flags


def _flag(**changed: str) -> Flag:
    told = {
        "at": "2026-11-23T12:00:00.000+00:00",
        "version": "tiny-p1-v1-0a1b2c",
        "key": "k",
        "prompt": "box",
        "task_id": "7",
        "label": "Disc",
        "analyst": "Ada",
        "verdict": "wrong",
    }
    return Flag(**(told | changed))


def test_the_latest_word_of_each_analyst_on_a_mask_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    flags = Flags(StateDir(tmp_path))
    for verdict, analyst, prompt in [
        ("accept", "Ada", "box"),
        ("wrong", "Ada", "box"),
        ("accept", "Bo", "box"),
        ("too tight", "Ada", "point"),
        ("none", "Bo", "box"),
    ]:
        flags.add(1, _flag(verdict=verdict, analyst=analyst, prompt=prompt))
    again = Flags(StateDir(tmp_path)).current(1)
    assert [(flag.analyst, flag.prompt, flag.verdict) for flag in again] == [
        ("Ada", "box", "wrong"),
        ("Ada", "point", "too tight"),
    ]
    assert count_flags(again) == {"accept": 0, "too loose": 0, "too tight": 1, "wrong": 1}
    assert flags.current(2) == ()


def test_a_note_stands_without_a_verdict_and_lines_of_earlier_versions_have_none(tmp_path: Path) -> None:
    flags, state = Flags(StateDir(tmp_path)), StateDir(tmp_path)
    flags.add(1, _flag(verdict="none", note="two cells"))
    old = json.loads((state.review / "1" / "flags.jsonl").read_text())
    del old["note"]
    with (state.review / "1" / "flags.jsonl").open("a") as file:
        file.write(json.dumps({**old, "key": "old", "verdict": "wrong"}) + "\n")
    assert [(flag.key, flag.verdict, flag.note) for flag in flags.current(1)] == [
        ("k", "none", "two cells"),
        ("old", "wrong", ""),
    ]
    flags.add(1, _flag(verdict="none"))
    assert [flag.key for flag in flags.current(1)] == ["old"], "verdict and note are both taken back"


def test_two_processes_that_flag_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backend.registry.state import StateDir\n"
        "from backend.review.flags import Flag, Flags\n"
        "for n in range(150):\n"
        "    Flags(StateDir(Path(sys.argv[1]))).add(1, Flag(at='', version='v', key=f'{sys.argv[2]}-{n}', "
        "prompt='box', task_id='', label='x' * 3000, analyst='a', verdict='wrong'))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [writer.wait(300) for writer in writers] == [0, 0, 0]
    assert len({flag.key for flag in Flags(StateDir(tmp_path)).current(1)}) == 450


def test_a_line_that_a_power_cut_left_half_spoils_no_other(tmp_path: Path) -> None:
    flags = Flags(StateDir(tmp_path))
    flags.add(1, _flag(key="before"))
    path = tmp_path / "review" / "1" / "flags.jsonl"
    with path.open("ab") as file:
        file.write(b'{"at": "2026-11')
    flags.add(1, _flag(key="after"))
    with path.open("ab") as file:
        file.write(json.dumps({"at": 3}).encode() + b"\n\xff\xfe\n" + b"[" * 100_000 + b"\n")
    flags.add(1, _flag(key="last"))
    assert [flag.key for flag in flags.current(1)] == ["before", "after", "last"]


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "review").write_text("in the way")
    with pytest.raises(Unavailable, match="was not stored"):
        Flags(StateDir(tmp_path)).add(1, _flag())
    with pytest.raises(BadInput, match="not one of accept"):
        Flags(StateDir(tmp_path)).add(1, _flag(verdict="meh"))


@given(label=st.text(), analyst=st.text())
def test_no_cell_of_the_table_is_a_formula_and_none_is_lost(label: str, analyst: str) -> None:
    rows = list(csv.reader(io.StringIO(as_csv([_flag(label=label, analyst=analyst)]).decode("utf-8-sig"), newline="")))
    assert rows[0] == [column.name for column in fields(Flag)]
    assert len(rows) == 2
    told = dict(zip(rows[0], rows[1], strict=True))
    for cell in rows[1]:
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert told["label"] in {label, f"'{label}"}


@pytest.mark.parametrize("label", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", " =1"])
def test_a_formula_gets_an_apostrophe(label: str) -> None:
    assert f"'{label}" in as_csv([_flag(label=label)]).decode()
