"""What is kept of a run comes back as it was, or not at all; and it takes no more room than it may."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.unfinished import State, Unfinished, _file_of, run_key

KEY = run_key({"seed": 0})
STATE = State(
    tensors={"a": torch.tensor([[1.5, float("nan")], [-0.0, 2.0]]), "b": torch.arange(3, dtype=torch.uint8)},
    values={"big": 2**127 + 1, "third": 1 / 3, "list": [1, None, "é"]},
)


@pytest.fixture
def kept(tmp_path: Path) -> Unfinished:
    return Unfinished(tmp_path / "runs", key=KEY, every_s=1e-6)


def _path(tmp_path: Path, number: int = 1) -> Path:
    return tmp_path / "runs" / KEY / f"training-{number}.state"


def test_a_state_comes_back_bit_for_bit(kept: Unfinished, tmp_path: Path) -> None:
    assert kept.load(1) is None
    kept.save(1, STATE)
    found = Unfinished(tmp_path / "runs", key=KEY, every_s=1.0).load(1)
    assert found is not None
    assert found.values == STATE.values
    for name, value in STATE.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].numpy().tobytes() == value.numpy().tobytes()
    assert kept.load(2) is None


def test_a_state_of_another_run_is_never_looked_at(kept: Unfinished, tmp_path: Path) -> None:
    kept.save(1, STATE)
    assert run_key({"seed": 1}) != KEY == run_key({"seed": 0})
    assert Unfinished(tmp_path / "runs", key=run_key({"seed": 1}), every_s=1.0).load(1) is None
    with pytest.raises(ValueError, match=r"'\.\./x' is not a SHA-256"):
        Unfinished(tmp_path, key="../x", every_s=1.0)


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(0, 400), place=st.integers(0, 400), bit=st.integers(0, 7), flips=st.booleans())
def test_a_file_that_is_cut_short_or_damaged_anywhere_counts_as_none(
    tmp_path_factory: pytest.TempPathFactory, cut: int, place: int, bit: int, flips: bool
) -> None:
    folder = tmp_path_factory.mktemp("state")
    kept, path = Unfinished(folder / "runs", key=KEY, every_s=1.0), _path(folder)
    kept.save(1, STATE)
    data = bytearray(path.read_bytes())
    if flips:
        data[place % len(data)] ^= 1 << bit
    else:
        del data[min(cut, len(data) - 1) :]
    path.write_bytes(data)
    assert kept.load(1) is None
    assert not path.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x04\x95pickle",
        (2**63).to_bytes(8, "little") + b"{}",
        _file_of(State(tensors={}, values={}))[32:].replace(b"{}", b"[]"),
        b"",
    ],
)
def test_a_file_of_somebody_else_is_dropped_whatever_digest_it_bears(
    kept: Unfinished, tmp_path: Path, hostile: bytes
) -> None:
    kept.save(1, STATE)
    _path(tmp_path).write_bytes(hashlib.sha256(hostile).digest() + hostile)
    assert kept.load(1) is None


def test_a_link_and_a_pipe_are_not_read(kept: Unfinished, tmp_path: Path) -> None:
    kept.save(1, STATE)
    _path(tmp_path).rename(tmp_path / "elsewhere")
    _path(tmp_path).symlink_to(tmp_path / "elsewhere")
    os.mkfifo(_path(tmp_path, 2))
    assert (kept.load(1), kept.load(2)) == (None, None)
    assert (tmp_path / "elsewhere").exists()


def test_what_a_kill_in_the_midst_of_writing_leaves_is_swept_up(kept: Unfinished, tmp_path: Path) -> None:
    kept.save(1, STATE)
    torn = _path(tmp_path).with_name(".training-1.state.0123456789abcdef.tmp")
    torn.write_bytes(b"half")
    assert kept.load(1) is not None
    assert [path.name for path in _path(tmp_path).parent.iterdir()] == ["training-1.state"]


def test_no_more_than_four_runs_are_kept_and_none_for_long(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(6):
        Unfinished(runs, key=run_key({"seed": number}), every_s=1.0).save(1, STATE)
        os.utime(runs / run_key({"seed": number}), (time.time() - 100 + number,) * 2)
    assert {path.name for path in runs.iterdir()} == {run_key({"seed": number}) for number in (2, 3, 4, 5)}
    os.utime(runs / run_key({"seed": 4}), (0, time.time() - 8 * 86400))
    (runs / "a stranger's").mkdir()
    Unfinished(runs, key=run_key({"seed": 5}), every_s=1.0).save(1, STATE)
    kept = {path.name for path in runs.iterdir()}
    assert kept == {"a stranger's", *(run_key({"seed": number}) for number in (2, 3, 5))}


def test_a_run_that_is_over_leaves_nothing(kept: Unfinished, tmp_path: Path) -> None:
    kept.save(1, STATE)
    kept.save(2, STATE)
    kept.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_the_state_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").write_text("a file is in the way")
    kept = Unfinished(tmp_path / "runs", key=KEY, every_s=1.0)
    kept.save(1, STATE)
    assert kept.load(1) is None
    kept.clear()
    assert "the training continues, but a kill would lose its progress" in caplog.text


def test_with_no_interval_nothing_is_kept(tmp_path: Path) -> None:
    kept = Unfinished(tmp_path / "runs", key=KEY, every_s=0.0)
    assert not kept.is_due()
    kept.save(1, STATE)
    assert kept.load(1) is None
    assert list(tmp_path.iterdir()) == []


def test_a_key_depends_on_every_fact() -> None:
    facts = {"config": {"seed": 0, "losses": {"bce": 1.0}}, "data": "0" * 64}
    assert run_key(facts) == run_key(json.loads(json.dumps(facts)))
    assert run_key({**facts, "data": "1" * 64}) != run_key(facts)
    assert run_key({**facts, "config": {"seed": 0, "losses": {"bce": 1.1}}}) != run_key(facts)
