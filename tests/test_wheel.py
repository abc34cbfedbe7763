"""The wheel holds all that an installed samloop reads, and asks for all that it imports."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.sources import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that `pip wheel .` builds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_packages_is_in_it_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Templates, style, script, the queue's programs and the demo's images too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "backend", "finetuner"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    present = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert packed == present
    assert {Path(name).suffix for name in packed} >= {".py", ".html", ".css", ".js", ".svg", ".lua", ".png", ".jpg"}


def test_it_installs_the_command_and_all_that_a_training_needs(wheel: zipfile.ZipFile) -> None:
    (entry,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "samloop = backend.__main__:main" in wheel.read(entry).decode()
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    needed = email.message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist") or []
    always = [requirement for requirement in needed if "extra ==" not in requirement]
    assert any(requirement.startswith("scikit-image") for requirement in always), (
        "its photographs keep trainings from forgetting"
    )
