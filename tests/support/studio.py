"""A fake Label Studio of a test's own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fakes.label_studio import FakeLabelStudio


@pytest.fixture
def studio() -> "Iterator[FakeLabelStudio]":
    """A running fake: `.url`, `.token`; empty, and gone when the test ends."""
    from fakes.label_studio import FakeLabelStudio

    with FakeLabelStudio() as running:
        yield running
