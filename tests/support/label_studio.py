"""A real Label Studio for the whole test session, on an ephemeral port and in its own folder.

Ask for the fixture `label_studio` and mark the test `label_studio`; projects are yours to make and leave.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli.demo.label_studio import LabelStudioProcess

EXECUTABLE = Path(__file__).resolve().parents[2] / ".venv-label-studio" / "bin" / "label-studio"


@pytest.fixture(scope="session")
def local_files_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which that Label Studio serves local files; a storage must name a folder in it."""
    return tmp_path_factory.mktemp("local-files")


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory, local_files_root: Path) -> Iterator[LabelStudioProcess]:
    """Running: `.url`, `.token` (legacy), `.user`, `.password`; stopped when the session ends."""
    environ = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(local_files_root),
    }
    with LabelStudioProcess(EXECUTABLE, data_dir=tmp_path_factory.mktemp("label-studio"), environ=environ) as running:
        yield running
