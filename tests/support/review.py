"""One project with two versions for all tests of the review pages, since its trainings take ten seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fakes.label_studio import FakeLabelStudio
    from fakes.reviewed import Reviewed


@pytest.fixture(scope="session")
def review_studio() -> "Iterator[FakeLabelStudio]":
    """The Label Studio of that project."""
    from fakes.label_studio import FakeLabelStudio

    with FakeLabelStudio() as studio:
        yield studio


@pytest.fixture(scope="session")
def made(review_studio: "FakeLabelStudio", tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> "Reviewed":
    """Two versions, none promoted. A test that promotes or flags undoes it."""
    from fakes.reviewed import reviewed

    return reviewed(review_studio, tmp_path_factory.mktemp("reviewed"), tiny_sam_dir=tiny_sam_dir)
