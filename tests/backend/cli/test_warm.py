"""`samloop warm` embeds a project, goes on where it was stopped, and tells what it left out; `doctor` tells of room."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from support.commands import run_samloop
from support.pictures import encode_image

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)
Samloop = Callable[..., CompletedProcess[str]]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return encode_image(pixels)


@pytest.fixture(scope="module")
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


@pytest.fixture
def project_id(studio: FakeLabelStudio) -> int:
    client = StudioSetup(studio.url, studio.token)
    project_id = int(client.create_project("pictures", CONFIG)["id"])
    client.import_images(project_id, {f"{seed}.png": picture(seed) for seed in range(5)})
    client.import_tasks(project_id, [{"data": {"image": "/data/upload/1/gone.png"}}, {"data": {"text": "none"}}])
    return project_id


@pytest.fixture
def samloop(studio: FakeLabelStudio, tiny_sam_dir: Path, tmp_path: Path) -> Samloop:
    def run(*words: str, **more: str) -> CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "COLUMNS": "200",
            "SAMLOOP_CACHE_DIR": str(tmp_path / "cache"),
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.token,
            "SAMLOOP_MODEL": str(tiny_sam_dir),
        }
        return run_samloop(*words, environ=environ | more)

    return run


def test_a_project_is_embedded_once_and_what_is_left_out_says_why(
    samloop: Samloop, project_id: int, tmp_path: Path
) -> None:
    first = samloop("warm", "--project", str(project_id))

    assert first.returncode == 0, first.stderr
    assert "5 embedded, 0 were there before" in first.stdout
    assert len(list((tmp_path / "cache" / "embeddings").glob("*.safetensors"))) == 5
    assert "left out: task" in first.stdout
    assert "as it does for an upload that is gone" in first.stdout
    assert "has no image in data['image']" in first.stdout

    again = samloop("warm", "--project", str(project_id))
    assert "0 embedded, 5 were there before" in again.stdout


def test_a_project_that_the_disk_tier_cannot_hold_is_told_the_setting(
    samloop: Samloop, studio: FakeLabelStudio
) -> None:
    client = StudioSetup(studio.url, studio.token)
    project_id = int(client.create_project("large", CONFIG)["id"])
    client.import_tasks(project_id, [{"data": {"text": "none"}}] * 40)

    done = samloop("warm", "--project", str(project_id), SAMLOOP_DISK_MIB="64")

    assert "9 more tasks for which SAMLOOP_DISK_MIB=64 has no room: set it to 83 or more" in done.stdout


def test_a_project_that_is_not_there_is_one_sentence(samloop: Samloop) -> None:
    done = samloop("warm", "--project", "999")
    assert done.returncode == 1
    assert "Label Studio has no project 999" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_tells_how_full_the_disk_tier_is(samloop: Samloop, project_id: int, tmp_path: Path) -> None:
    samloop("warm", "--project", str(project_id))
    line = next(line for line in samloop("doctor").stdout.splitlines() if "embeddings:" in line)
    assert line.startswith("ok")
    assert f"{tmp_path / 'cache' / 'embeddings'} is writable and holds 1 of 8192 MiB" in line


def test_doctor_tells_where_nothing_can_be_kept(samloop: Samloop, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    line = next(
        line
        for line in samloop("doctor", SAMLOOP_CACHE_DIR=str(tmp_path / "file")).stdout.splitlines()
        if "embeddings:" in line
    )
    assert line.startswith("WRONG")
    assert "set SAMLOOP_CACHE_DIR" in line
