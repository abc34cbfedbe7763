"""The comparison with the official backend: turns, and a table of medians and ratios."""

from pathlib import Path

import pytest
from benchmarks import official as benchmark
from benchmarks.clients import Clients, pictures, project
from benchmarks.official import AVX2, KINDS, choose_block, official, take_turns, write_table


def test_the_ratio_is_taken_within_a_turn_so_that_a_busy_moment_slows_both() -> None:
    ours, theirs = [10e-3, 100e-3, 20e-3], [20e-3, 200e-3, 40e-3]  # the machine was busy at the second turn
    table = write_table({"samloop": dict.fromkeys(KINDS, ours), "official": dict.fromkeys(KINDS, theirs)})
    assert table.splitlines()[2] == "| the first click on an image | 20 ms | 40 ms | 2.0 |"


@pytest.mark.parametrize(("is_half", "expected"), [(True, "official"), (False, "official-int8")])
def test_every_kind_of_processor_writes_a_block_of_its_own(
    monkeypatch: pytest.MonkeyPatch, is_half: bool, expected: str
) -> None:
    monkeypatch.setattr(benchmark, "has_fast_bfloat16", lambda _: is_half)
    monkeypatch.setattr(benchmark.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert choose_block() == expected

    monkeypatch.setattr(benchmark.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert choose_block() == AVX2


@pytest.mark.long
@pytest.mark.label_studio_ml
@pytest.mark.weights
def test_the_official_backends_path_answers_a_click_with_a_mask_of_the_images_size(tmp_path: Path) -> None:
    with (
        project(pictures(3)) as (studio, project_id, tasks),
        official(tmp_path / "official", label_studio=studio.url, token=studio.token) as url,
    ):
        clients = Clients(url, project_id=project_id, tasks=tasks)
        seconds, ious = take_turns({"samloop": clients, "official": clients}, rounds=1)
    assert ious == [1.0], "a click is answered with the same mask again"
    assert {kind: len(taken) for kind, taken in seconds["official"].items()} == {"cold": 2, "warm": 1, "back": 1}
