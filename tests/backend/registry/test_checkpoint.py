"""A checkpoint folder verifies, or is refused with a sentence."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.files.durable import open_plain
from backend.registry import checkpoint
from backend.registry.checkpoint import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    read_manifest,
    read_weights,
    verify_weights,
    write_checkpoint,
)
from backend.registry.figures import MaskFigures, ModelFigures
from backend.registry.metrics import CheckpointMetrics, Exclusion, Recipe, Verdict

MANIFEST = Manifest(
    version="mobile-sam-p1-v1-0a1b2c",
    project_id=1,
    base_model="mobile-sam",
    base_fingerprint="f" * 64,
    method="decoder",
    parent=None,
    data_digest="d" * 64,
    config=Recipe.model_validate({"epochs": 3}),
    metrics=CheckpointMetrics(candidate=ModelFigures(box=MaskFigures(iou=0.9, n=3))),
    verdict=Verdict(promote=True, reasons=("tighter",)),
    excluded=(Exclusion(reason="skipped", count=1, examples=({"task": 7},)),),
    created_at="2026-01-01T00:00:00+00:00",
    code_version="0.1.0",
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    config=st.dictionaries(st.text(), json_values, max_size=4),
    reasons=st.lists(st.text(), max_size=3),
    places=st.lists(st.dictionaries(st.text(), st.integers() | st.text(), max_size=2), max_size=3),
    project_id=st.none() | st.integers(min_value=1),
    parent=st.none() | st.text(),
)
def test_a_manifest_reads_back_as_it_was_written(
    config: dict[str, Any],
    reasons: list[str],
    places: list[dict[str, Any]],
    project_id: int | None,
    parent: str | None,
) -> None:
    """Whatever values the recipe of a trainer has."""
    manifest = replace(
        MANIFEST,
        config=Recipe.model_validate(config),
        verdict=Verdict(promote=False, reasons=tuple(reasons)),
        excluded=(Exclusion(reason="skipped", count=len(places), examples=tuple(places)),),
        project_id=project_id,
        parent=parent,
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_manifest_from_before_it_named_its_form_reads_as_it_did() -> None:
    """As the first trainings wrote it: no form, a verdict and exclusions as plain JSON, an adapter without its kind."""
    old = json.loads(MANIFEST.to_json())
    del old["form"]
    old |= {
        "config": {"epochs": 3, "losses": {"bce": 1.0}, "adapter": {"rank": 8, "alpha": 16.0}},
        "verdict": {"promote": True, "reasons": ["box prompts gain"]},
        "excluded": [{"reason": "only a draft", "count": 2, "examples": [{"task": 7, "annotation": 9}]}],
    }
    manifest = Manifest.from_json(json.dumps(old))
    assert manifest.config.adapter == {"rank": 8, "alpha": 16.0}
    assert manifest.config.to_json() == old["config"]
    assert manifest.verdict == Verdict(promote=True, reasons=("box prompts gain",))
    assert [exclusion.to_json() for exclusion in manifest.excluded] == old["excluded"]


def test_of_a_manifest_from_before_adapters_had_kinds_no_adapter_is_known() -> None:
    """Which is not the same as to know that there is none."""
    before, none = Recipe.model_validate({"epochs": 3}), Recipe.model_validate({"epochs": 3, "adapter": None})
    assert (before.names_adapter, none.names_adapter) == (False, True)
    for recipe in (before, none):
        again = Manifest.from_json(replace(MANIFEST, config=recipe).to_json()).config
        assert again.names_adapter == recipe.names_adapter


def test_figures_that_are_not_finite_become_null() -> None:
    """JSON has no NaN, and a reader in another language would refuse the file."""
    manifest = replace(MANIFEST, config=Recipe.model_validate({"hd95_px": float("nan"), "all": [float("inf"), 1.0]}))
    assert Manifest.from_json(manifest.to_json()).config.to_json() == {"hd95_px": None, "all": [None, 1.0]}


def test_a_written_checkpoint_verifies(tmp_path: Path) -> None:
    """The manifest that comes back is the one on the disk, and it vouches for the weights."""
    written = write_checkpoint(tmp_path / "out", weights=b"weights", manifest=MANIFEST)
    assert read_manifest(tmp_path / "out") == written
    assert verify_weights(tmp_path / "out").read_bytes() == b"weights"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST_FILE, WEIGHTS_FILE]


def test_other_files_are_vouched_for_too(tmp_path: Path) -> None:
    """What lies beside the weights is as whole as they are, or the checkpoint is refused."""
    written = write_checkpoint(tmp_path, weights=b"weights", manifest=MANIFEST, others={"report.html": b"<p>"})
    assert set(written.files) == {WEIGHTS_FILE, "report.html"}
    verify_weights(tmp_path)
    (tmp_path / "report.html").write_bytes(b"<q>")
    with pytest.raises(BadCheckpoint, match=r"report\.html has sha256"):
        verify_weights(tmp_path)


def test_the_bytes_that_are_read_are_those_that_were_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the weights are checked first and opened again for reading: they may change in between."""
    write_checkpoint(tmp_path, weights=b"weights", manifest=MANIFEST, others={"report.html": b"<p>"})
    opened: list[str] = []

    def open_once(path: Path) -> BufferedReader:
        opened.append(path.name)
        return open_plain(path)

    monkeypatch.setattr(checkpoint, "open_plain", open_once)
    assert read_weights(tmp_path, most_bytes=7) == b"weights"
    assert sorted(opened) == [MANIFEST_FILE, WEIGHTS_FILE, "report.html"]
    with pytest.raises(BadCheckpoint, match="take 7 bytes; weights that fit this base take at most 6"):
        read_weights(tmp_path, most_bytes=6)
    _flip(tmp_path / "report.html")
    with pytest.raises(BadCheckpoint, match=r"report\.html has sha256"):
        read_weights(tmp_path, most_bytes=7)
    write_checkpoint(tmp_path, weights=b"weights", manifest=MANIFEST)
    _flip(tmp_path / WEIGHTS_FILE)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors has sha256"):
        read_weights(tmp_path, most_bytes=7)


@pytest.mark.parametrize("name", ["../report.html", "manifest.json", ".hidden", "model.safetensors", ""])
def test_a_file_that_is_no_plain_name_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadCheckpoint, match=r"plain file name|another name"):
        write_checkpoint(tmp_path / "out", weights=b"weights", manifest=MANIFEST, others={name: b""})
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_may_be_written_over_an_older_one(tmp_path: Path) -> None:
    """`samloop train --out DIR` may be repeated."""
    for weights in (b"old", b"newer"):
        write_checkpoint(tmp_path, weights=weights, manifest=MANIFEST)
    assert verify_weights(tmp_path).read_bytes() == b"newer"


def _flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"X")


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, "has sha256 .* its manifest says"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes, its manifest says 7"),
        (_link, "cannot be read as a plain file"),
        (_fifo, "not a plain file"),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    """A flipped byte, a cut file, a link, a pipe: none is loaded, none hangs."""
    write_checkpoint(tmp_path, weights=b"weights", manifest=MANIFEST)
    damage(tmp_path / WEIGHTS_FILE)
    with pytest.raises(BadCheckpoint, match=said):
        verify_weights(tmp_path)


def test_weights_that_are_not_there_may_come_back(tmp_path: Path) -> None:
    """What is published is never deleted: a file that is missing is its disk's fault, not the checkpoint's."""
    write_checkpoint(tmp_path, weights=b"weights", manifest=MANIFEST)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(Unavailable, match="is missing"):
        verify_weights(tmp_path)


def _with(**changed: object) -> bytes:
    return json.dumps({**json.loads(MANIFEST.to_json()), **changed}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff", "codec can't decode"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "must be an object with the fields"),
        (_with(surprise=1), "must be an object with the fields"),
        (_with(version=3), "version='3' has the wrong type"),
        (_with(project_id=True), "project_id='True' has the wrong type"),
        (_with(metrics=float("nan")), "NaN is not a JSON number"),
        (_with(excluded=["x"]), "excluded must be a list of objects"),
        (_with(excluded=[{"reason": "x", "count": "many"}]), r"excluded\.count='many'"),
        (_with(verdict={"promote": "perhaps"}), r"verdict\.promote='perhaps'"),
        (_with(config={"adapter": "large"}), r"config\.adapter='large'"),
        (_with(form=2), "is of form 2, but this samloop reads form 1: upgrade samloop"),
        (_with(files={"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}), "is not a plain file name"),
        (_with(files={WEIGHTS_FILE: {"sha256": "zz", "bytes": 1}}), "needs a sha256"),
        (_with(files={WEIGHTS_FILE: {"sha256": "0" * 64, "bytes": -1}}), "needs a sha256"),
        (_with(files={}), f"names no {WEIGHTS_FILE}"),
    ],
)
def test_a_manifest_that_is_none_of_ours_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """And the sentence names the folder."""
    (tmp_path / MANIFEST_FILE).write_bytes(data)
    with pytest.raises(BadCheckpoint, match=said) as raised:
        verify_weights(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    """Nor is a path that is not there, or one below a file."""
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(NotFound, match="is not a checkpoint"):
            read_manifest(folder)
