"""`samloop export`: which model goes out, and sentences where none can."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.checkpoints import make_manifest
from transformers import SamModel

from backend.cli.export import export
from backend.errors import BadInput, NotFound
from backend.ids import shorten_version
from backend.registry.local import LocalRegistry
from backend.sam.loading import decoder_bytes, decoder_of, load_as_stored

Exported = Callable[..., str]


@pytest.fixture
def exported(
    tmp_path: Path, tiny_sam_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Exported:
    """`exported("hf", project=3, out_dir=...)` is what the command prints."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SAMLOOP_MODEL", str(tiny_sam_dir))
    monkeypatch.setenv("SAMLOOP_CACHE_DIR", str(tmp_path / "cache"))

    def run(
        how: str,
        *,
        out_dir: Path,
        project: int | None = None,
        checkpoint: Path | None = None,
        version: str | None = None,
    ) -> str:
        export(out_dir, how, project, checkpoint, version)
        return capsys.readouterr().out.replace("\n", "")

    return run


@pytest.fixture
def version(tmp_path: Path, tiny_sam_dir: Path) -> str:
    """Promoted in project 3: the base's decoder, one of its weights doubled."""
    base = load_as_stored(str(tiny_sam_dir), cache_dir=tmp_path / "cache")
    decoder = decoder_of(base, None)
    decoder.iou_token.weight.mul_(2)
    manifest = make_manifest(project_id=3, base_model=str(tiny_sam_dir), base_fingerprint=base.fingerprint)
    registry = LocalRegistry(tmp_path / "models")
    made = registry.publish(3, weights=decoder_bytes(decoder), manifest=manifest).version
    registry.promote(3, made, reason="test")
    return made


def test_a_project_exports_what_serves_it(exported: Exported, version: str, tmp_path: Path, tiny_sam_dir: Path) -> None:
    base = SamModel.from_pretrained(tiny_sam_dir).mask_decoder.iou_token.weight
    folder = tmp_path / "out"
    assert exported("hf", project=3, out_dir=folder).startswith(f"{version} is in {folder}")
    assert torch.equal(SamModel.from_pretrained(folder).mask_decoder.iou_token.weight, 2 * base)
    assert json.loads((folder / "export.json").read_text())["version"] == version


def test_a_project_that_the_base_serves_has_nothing_to_export_and_the_next_step_is_told(
    exported: Exported, version: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="4 has no version to export, for it was never trained: `samloop train --proj"):
        exported("hf", project=4, out_dir=tmp_path / "out")
    LocalRegistry(tmp_path / "models").promote(3, None, reason="rolled back")
    with pytest.raises(BadInput, match="3 is served by the base model: promote a version to export it"):
        exported("hf", project=3, out_dir=tmp_path / "out")


@pytest.mark.parametrize("is_short", [True, False])
def test_any_version_of_a_project_is_exported_by_the_name_that_pages_show(
    exported: Exported, version: str, tmp_path: Path, is_short: bool
) -> None:
    LocalRegistry(tmp_path / "models").promote(3, None, reason="rolled back")
    name = shorten_version(version) if is_short else version
    assert exported("sam", project=3, version=name, out_dir=tmp_path / "out").startswith(f"{version} is in")


def test_a_version_that_the_project_lacks_is_told_with_where_its_versions_are_listed(
    exported: Exported, version: str, tmp_path: Path
) -> None:
    for project, name in ((3, "v7-0a1b2c"), (4, version)):
        with pytest.raises(NotFound, match=rf"{project} has no version {name}; `samloop versions --project {project}`"):
            exported("hf", project=project, version=name, out_dir=tmp_path / "out")
    with pytest.raises(BadInput, match="--version v1-0a1b2c belongs to a project: give --project N"):
        exported("hf", checkpoint=tmp_path, version="v1-0a1b2c", out_dir=tmp_path / "out")


def test_a_checkpoint_folder_exports_too(exported: Exported, version: str, tmp_path: Path) -> None:
    folder = LocalRegistry(tmp_path / "models").materialise(version)
    exported("sam", checkpoint=folder, out_dir=tmp_path / "sam")
    assert json.loads((tmp_path / "sam" / "export.json").read_text())["version"] == version


def test_a_folder_that_holds_something_is_refused_before_the_model_is_looked_for(
    exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="is not empty, and nothing is ever overwritten"):
        exported("hf", checkpoint=tmp_path / "no checkpoint", out_dir=Path(__file__).parent)


def test_what_cannot_be_exported_is_told_in_one_sentence(exported: Exported, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    with pytest.raises(BadInput, match="give --project N or --checkpoint DIR, one of the two"):
        exported("hf", out_dir=out_dir)
    with pytest.raises(BadInput, match="one of the two"):
        exported("hf", project=3, checkpoint=tmp_path, out_dir=out_dir)
    with pytest.raises(NotFound, match=r"is not a checkpoint: it holds no manifest\.json"):
        exported("hf", checkpoint=tmp_path, out_dir=out_dir)
    assert not out_dir.exists()
