"""A real Label Studio for the whole test session, on an ephemeral port and in its own folder.

Ask for the fixture `label_studio` and mark the test `label_studio`; projects are yours to make and leave. Its tables
are made once for both workers of pytest-xdist: that takes half a minute, and a start in a copy of them five seconds.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.files.locks import hold_lock

EXECUTABLE = Path(__file__).resolve().parents[2] / ".venv-label-studio" / "bin" / "label-studio"
PASSWORD, TOKEN = "of-a-template", "5a" * 20


@dataclass(frozen=True)
class Tables:
    """A folder in which Label Studio has made its tables, for `PASSWORD` and `TOKEN`; it has no project."""

    folder: Path

    def copy_to(self, data_dir: Path) -> None:
        """Copy them to a folder that does not exist yet, for a Label Studio that starts there."""
        shutil.copytree(self.folder, data_dir)


@pytest.fixture(scope="session")
def label_studio_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Made by the first worker that asks for them; the other waits."""
    own = tmp_path_factory.getbasetemp()
    room = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made = room / "label-studio-tables"
    with hold_lock(room / "label-studio-tables.lock"):
        if not made.exists():
            unfinished = room / "label-studio-tables-unfinished"
            with LabelStudioProcess(EXECUTABLE, data_dir=unfinished, password=PASSWORD, token=TOKEN):
                pass
            unfinished.rename(made)
    return Tables(made)


@pytest.fixture(scope="session")
def local_files_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which that Label Studio serves local files; a storage must name a folder in it."""
    return tmp_path_factory.mktemp("local-files")


@pytest.fixture(scope="session")
def label_studio(
    label_studio_tables: Tables, tmp_path_factory: pytest.TempPathFactory, local_files_root: Path
) -> Iterator[LabelStudioProcess]:
    """Running: `.url`, `.token` (legacy), `.user`, `.password`; stopped when the session ends."""
    environ = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(local_files_root),
    }
    data_dir = tmp_path_factory.mktemp("label-studio") / "data"
    label_studio_tables.copy_to(data_dir)
    with LabelStudioProcess(EXECUTABLE, data_dir=data_dir, password=PASSWORD, token=TOKEN, environ=environ) as running:
        yield running
