"""The running figures are those of the last line of every annotation, whoever wrote it and whoever reads."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.live.ledger import Ledger
from backend.live.lines import ComparedMask, Done, Gone, Kept, Seen

MASK = st.tuples(
    st.sampled_from(["v1", "v2"]),
    st.sampled_from(["Coin", "Key"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
LINE = st.one_of(
    st.tuples(st.just("done"), st.integers(1, 4), st.lists(MASK, max_size=3), st.none() | st.floats(0, 100)),
    st.tuples(st.just("gone"), st.integers(1, 4), st.just([]), st.none()),
)


def done(ledger: Ledger, number: int, *masks: tuple[Any, ...], lead_s: float | None = None, at: str = "1") -> None:
    names = ("version", "label", "iou", "boundary_iou", "untouched")
    compared = tuple(ComparedMask(**dict(zip(names, mask, strict=True))) for mask in masks)
    ledger.append(Done(annotation_id=number, at=at, lead_s=lead_s, masks=compared))


def seen(number: int, *, at: str) -> Seen:
    return Seen(annotation_id=number, task_id=7, at=at, process="me", seen_s=1.0)


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(LINE, max_size=12), split=st.integers(0, 12))
def test_the_figures_are_the_means_over_what_stands(
    lines: list[Any], split: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("live") / "annotations.jsonl"
    writer, follower, standing = Ledger(path), Ledger(path), {}
    for count, (kind, number, masks, lead_s) in enumerate(lines):
        standing.pop(number, None)
        if kind == "done":
            done(writer, number, *masks, lead_s=lead_s)
            standing[number] = (masks, lead_s)
        else:
            writer.append(Gone(annotation_id=number))
        if count == split:
            follower.figures()
    for ledger in (writer, follower, Ledger(path)):
        found = ledger.figures()
        for version in ("v1", "v2"):
            of_it = [mask for masks, _ in standing.values() for mask in masks if mask[0] == version]
            if not of_it:
                assert version not in found
                continue
            assert found[version].n == len(of_it)
            assert found[version].iou == pytest.approx(sum(m[2] for m in of_it) / len(of_it), abs=1e-5)
            assert found[version].boundary_iou == pytest.approx(sum(m[3] for m in of_it) / len(of_it), abs=1e-5)
            assert found[version].untouched == pytest.approx(sum(m[4] for m in of_it) / len(of_it), abs=1e-5)
            coins = [mask for mask in of_it if mask[1] == "Coin"]
            assert (found[version].labels["Coin"].n if coins else 0) == len(coins)
            leads = [
                lead for masks, lead in standing.values() if lead is not None and any(m[0] == version for m in masks)
            ]
            assert (found[version].lead_time_s is None) == (not leads)
            if leads:
                assert found[version].lead_time_s == pytest.approx(sum(leads) / len(leads), abs=2e-3)


def test_the_moving_mean_follows_the_latest_annotations(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    for number in range(1, 301):
        done(ledger, number, ("v1", "Coin", 1.0, 0.2 if number <= 200 else 0.8, False))
    figures = ledger.figures()["v1"]
    assert figures.boundary_iou == pytest.approx(0.4)
    assert figures.boundary_iou_ema == pytest.approx(0.8, abs=1e-3)
    for number in range(201, 301):
        ledger.append(Gone(annotation_id=number))
    assert ledger.figures()["v1"].n == 200


def test_what_was_seen_waits_until_that_state_of_it_is_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    ledger.append(seen(5, at="2026-01-01T10:00:00Z"))
    ledger.append(seen(5, at="2026-01-01T10:00:09Z"))
    done(ledger, 5, ("v1", "Coin", 1.0, 1.0, True), at="2026-01-01T10:00:00Z")
    assert list(Ledger(tmp_path / "x.jsonl").pending()) == [5], "it was changed while it was compared"
    done(ledger, 5, ("v1", "Coin", 0.5, 0.5, False), at="2026-01-01T10:00:09Z")
    assert ledger.pending() == {}
    assert ledger.figures()["v1"].iou == 0.5
    ledger.append(seen(5, at="2026-01-01T11:00:00Z"))
    ledger.append(Kept(annotation_id=5, at="2026-01-01T11:00:00Z"))
    assert (ledger.pending(), ledger.figures()["v1"].iou, ledger.is_counted(5)) == ({}, 0.5, True)


@pytest.mark.parametrize("torn", [b'{"k": "done", "a": 1, "at": "1", "m": [["v1"', b"\xff\xfe", b"[" * 5000, b"null"])
def test_a_line_that_a_killed_process_left_half_costs_itself_alone(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "x.jsonl"
    reader = Ledger(path)
    done(Ledger(path), 1, ("v1", "Coin", 1.0, 1.0, True))
    assert reader.figures()["v1"].n == 1
    with path.open("ab") as file:
        file.write(torn)
    assert reader.figures()["v1"].n == 1
    done(Ledger(path), 2, ("v1", "Coin", 1.0, 1.0, True))
    assert reader.figures()["v1"].n == Ledger(path).figures()["v1"].n == 2


def append_many(path: Path, first: int) -> None:
    ledger = Ledger(path)
    for number in range(first, first + 100):
        done(ledger, number, *[("v1", "Coin", 1.0, 1.0, True)] * 50)


def test_processes_that_append_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append_many, args=(path, 1 + 100 * part)) for part in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert Ledger(path).figures()["v1"].n == 3 * 100 * 50


def test_a_file_that_was_taken_away_or_exchanged_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    ledger = Ledger(path)
    for number in (1, 2):
        done(ledger, number, ("v1", "Coin", 1.0, 1.0, True))
    assert ledger.figures()["v1"].n == 2
    path.write_text(json.dumps({"k": "done", "a": 9, "at": "1", "m": [["v2", "Coin", 1.0, 1.0, True]]}) + "\n")
    assert list(ledger.figures()) == ["v2"]
    path.unlink()
    assert ledger.figures() == {}


def test_a_thousand_names_of_labels_take_no_more_memory_than_two_hundred(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    done(ledger, 1, *[("v1", f"label {number}", 1.0, 1.0, True) for number in range(1000)])
    labels = ledger.figures()["v1"].labels
    assert len(labels) == 201
    assert labels["(other)"].n == 800


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(LINE, max_size=12), told=st.lists(st.integers(1, 4), max_size=3), look=st.booleans())
def test_taking_out_what_no_longer_counts_changes_no_figure_for_anybody(
    lines: list[Any], told: list[int], look: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("live") / "annotations.jsonl"
    writer, follower = Ledger(path), Ledger(path)
    for kind, number, masks, lead_s in lines:
        done(writer, number, *masks, lead_s=lead_s) if kind == "done" else writer.append(Gone(annotation_id=number))
    for number in told:
        writer.append(seen(number, at="2"))
    before = Ledger(path).figures(), Ledger(path).pending()
    if look:
        follower.figures()
    standing = len({line[1] for line in lines if line[0] == "done"} | set(told))
    compacted = writer.compact(most_outdated=0)
    if compacted:
        assert len(path.read_bytes().splitlines()) <= 1 + standing + len(set(told))
    for ledger in (writer, follower, Ledger(path)):
        assert ledger.figures() == before[0]
        assert ledger.pending() == before[1]
    done(Ledger(path), 9, ("v1", "Coin", 1.0, 1.0, True))
    for ledger in (writer, follower):
        assert ledger.figures()["v1"].n == (before[0]["v1"].n if "v1" in before[0] else 0) + 1


def test_a_file_in_which_most_still_counts_stays_as_it_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.jsonl")
    assert not ledger.compact(most_outdated=0), "there is none"
    for number in (1, 2, 2):
        done(ledger, number, ("v1", "Coin", 1.0, 1.0, True))
    before = (tmp_path / "x.jsonl").read_bytes()
    assert not ledger.compact(most_outdated=0)
    assert (tmp_path / "x.jsonl").read_bytes() == before


def update_one(path: Path, number: int) -> None:
    ledger = Ledger(path)
    for _ in range(200):
        done(ledger, number, ("v1", "Coin", 1.0, 1.0, True))
        ledger.append(seen(number, at="9"))


def test_a_line_that_is_written_while_the_file_is_made_anew_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    done(Ledger(path), 99, ("v2", "Coin", 0.5, 0.5, False))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=update_one, args=(path, number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    ledger, count = Ledger(path), 0
    while any(writer.is_alive() for writer in writers):
        count += ledger.compact(most_outdated=5)
    assert ledger.compact(most_outdated=0) or count, "nothing was ever taken out: this test proves nothing"
    for reader in (ledger, Ledger(path)):
        assert (reader.figures()["v1"].n, reader.figures()["v2"].n) == (2, 1)
        assert sorted(reader.pending()) == [1, 2]


def test_a_longer_file_that_was_put_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    path, other = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    ledger = Ledger(path)
    done(ledger, 1, ("v1", "Coin", 1.0, 1.0, True))
    assert ledger.figures()["v1"].n == 1
    for number in (2, 3, 4):
        done(Ledger(other), number, ("v2", "Coin", 1.0, 1.0, True))
    other.replace(path)
    assert {name: figures.n for name, figures in ledger.figures().items()} == {"v2": 3}
