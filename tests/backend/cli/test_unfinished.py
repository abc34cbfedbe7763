"""What a killed `samloop predict` leaves, and who may take it up."""

from pathlib import Path

import pytest

from backend.cli.unfinished import Predicted, Unfinished
from backend.errors import BadInput

FIRST = Predicted({"id": 1, "data": {}, "predictions": []}, None)
SECOND = Predicted({"id": 2, "data": {}, "predictions": []}, "task 2: no file")


def test_what_was_kept_is_read_again_without_the_line_that_a_kill_tore(tmp_path: Path) -> None:
    out = tmp_path / "predictions.json"
    unfinished = Unfinished.open(out, of="work")
    unfinished.append(FIRST)
    unfinished.append(SECOND)
    with unfinished.path.open("ab") as file:
        file.write(b'{"task": {"id": 3')
    again = Unfinished.open(out, of="work")
    assert again.done == [FIRST, SECOND]
    again.append(FIRST)
    assert Unfinished.open(out, of="work").done == [FIRST, SECOND, FIRST]


def test_other_work_does_not_take_it_up(tmp_path: Path) -> None:
    Unfinished.open(tmp_path / "predictions.json", of="work").append(FIRST)
    with pytest.raises(BadInput, match=r"predictions\.json\.unfinished is .* delete the file, or name another --out"):
        Unfinished.open(tmp_path / "predictions.json", of="other work")


def test_nothing_is_left_of_finished_work(tmp_path: Path) -> None:
    unfinished = Unfinished.open(tmp_path / "predictions.json", of="work")
    unfinished.remove()
    unfinished.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [b"", b'{"wor'])
def test_what_ended_before_its_first_line_is_begun_anew(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "predictions.json.unfinished").write_bytes(left)
    begun = Unfinished.open(tmp_path / "predictions.json", of="this")
    begun.append(Predicted({"id": 1}, None))
    assert Unfinished.open(tmp_path / "predictions.json", of="this").done == [Predicted({"id": 1}, None)]
