"""Lanes that are closed again."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Traffic


@pytest.fixture
def opened() -> Iterator[Callable[..., Lane]]:
    """`opened(**changes)` opens a lane of two workers, with other settings by name."""
    lanes = []

    def make(**changes: Any) -> Lane:
        lanes.append(Lane("encode", **({"workers": 2, "waiting": 100, "cores": 4, "traffic": Traffic()} | changes)))
        return lanes[-1]

    yield make
    for lane in lanes:
        lane.close()
