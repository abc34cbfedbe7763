"""A read is tried again while its failure passes, after the pauses, and at once given up where it does not."""

from collections.abc import Callable

import pytest

from backend.errors import Unavailable
from finetuner.patience import PAUSES_S, read_patiently


def _failing(*faults: Exception) -> Callable[[], str]:
    left = list(faults)

    def read() -> str:
        if left:
            raise left.pop(0)
        return "the image"

    return read


def test_a_failure_that_passes_costs_the_pauses_and_not_the_image() -> None:
    paused_s: list[float] = []
    read = _failing(Unavailable("away"), OSError("the share cannot be reached"))
    assert read_patiently(read, sleep=paused_s.append) == "the image"
    assert tuple(paused_s) == PAUSES_S


def test_the_last_failure_is_told_once_the_tries_are_used_up() -> None:
    with pytest.raises(Unavailable, match="third"):
        read_patiently(_failing(*map(Unavailable, ("first", "second", "third"))), sleep=lambda _: None)


def test_a_file_that_is_not_there_is_asked_for_once() -> None:
    paused_s: list[float] = []
    with pytest.raises(FileNotFoundError):
        read_patiently(_failing(FileNotFoundError("no such file")), sleep=paused_s.append)
    assert paused_s == []
