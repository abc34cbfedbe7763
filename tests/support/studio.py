"""A fake Label Studio, for one test or for the tests of a file."""

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


@pytest.fixture(scope="module")
def shared_studio() -> "Iterator[FakeLabelStudio]":
    """A fake that the tests of a file share, for the server that they share; it stops after the last."""
    from fakes.label_studio import FakeLabelStudio

    with FakeLabelStudio() as running:
        yield running
