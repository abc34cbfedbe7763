"""A fake Label Studio for one test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fakes.label_studio import FakeLabelStudio


@pytest.fixture
def studio() -> "Iterator[FakeLabelStudio]":
    """A running, empty fake: `.url`, `.token`; it stops when the test ends."""
    from fakes.label_studio import FakeLabelStudio

    with FakeLabelStudio() as running:
        yield running
