"""Lines that any number of processes append, to the file that stands there."""

import json
import threading
from pathlib import Path

from backend.files.json_lines import append_line, lock_file, replace_lines


def test_who_waited_while_the_file_was_exchanged_writes_into_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append_line(path, "old", is_synced=False)
    writer = threading.Thread(target=append_line, args=(path, "waited"), kwargs={"is_synced": True})
    with lock_file(path):
        writer.start()
        replace_lines(path, [b'"new"\n'])
    writer.join()
    assert [json.loads(line) for line in path.read_text().splitlines()] == ["new", "waited"]


def test_a_file_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with lock_file(path) as file:
        path.unlink()
        file.write(b"to nobody\n")
    append_line(path, 1, is_synced=False)
    assert path.read_text() == "1\n"
