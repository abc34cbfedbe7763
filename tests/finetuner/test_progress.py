"""Whoever listens takes a phase and figures; nobody need listen."""

from finetuner.progress import PHASES, Progress, silent


def test_silence_is_a_listener_too() -> None:
    assert isinstance(silent, Progress)
    for phase in PHASES:
        silent(phase, done=1, total=2.5, model="base")
