"""Bases load whole or not at all."""

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from backend.errors import BadWeights
from backend.registry.checkpoint import Manifest, write_checkpoint
from backend.registry.metrics import Recipe
from backend.sam.loading import BaseModel, base_name, decoder_bytes, load_as_stored, load_base
from tests.support.checkpoints import make_manifest

Nudged = Callable[[int], bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def test_a_folder_is_named_by_its_last_part_and_does_not_learn(tiny_base: BaseModel) -> None:
    assert tiny_base.name == "tiny-sam"
    assert not tiny_base.model.training
    assert not any(weight.requires_grad for weight in tiny_base.model.parameters())


def test_fingerprints_are_the_same_for_the_same_weights(lively_dir: Path, tiny_base: BaseModel, tmp_path: Path) -> None:
    again = load_base(str(shutil.copytree(lively_dir, tmp_path / "copy")), cache_dir=tmp_path, dtype="float32")

    assert (again.fingerprint, again.encoder_fingerprint) == (tiny_base.fingerprint, tiny_base.encoder_fingerprint)


def test_arithmetic_changes_the_encoders_fingerprint_alone(
    lively_dir: Path, tiny_base: BaseModel, tmp_path: Path
) -> None:
    half = load_base(str(lively_dir), cache_dir=tmp_path, dtype="bfloat16")

    assert half.encoder_fingerprint != tiny_base.encoder_fingerprint
    assert half.fingerprint == tiny_base.fingerprint


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("weight", "encoder_too"),
    [("mask_decoder.iou_token.weight", False), ("vision_encoder.neck.conv1.weight", True)],
)
def test_one_changed_number_changes_the_fingerprint(
    lively_dir: Path, tiny_base: BaseModel, tmp_path: Path, weight: str, encoder_too: bool
) -> None:
    copy = shutil.copytree(lively_dir, tmp_path / "copy")
    rewrite(copy, lambda state: state[weight].view(-1)[:1].add_(1e-3))

    changed = load_base(str(copy), cache_dir=tmp_path, dtype="float32")

    assert changed.fingerprint != tiny_base.fingerprint
    assert (changed.encoder_fingerprint != tiny_base.encoder_fingerprint) is encoder_too


def test_a_folder_that_lacks_a_weight_is_refused_and_not_filled_with_random_numbers(
    lively_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(lively_dir, tmp_path / "copy")
    rewrite(copy, lambda state: state.pop("mask_decoder.mask_tokens.weight"))

    with pytest.raises(BadWeights, match=r"copy lacks weights of a SAM.*mask_tokens"):
        load_base(str(copy), cache_dir=tmp_path)


class _Evil:
    """What a pickle that is opened would do."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.made,))


def test_a_folder_of_pickles_runs_nothing_of_them(lively_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lively_dir, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil(tmp_path / "ran")))

    with pytest.raises(BadWeights, match="is not PyTorch's file of weights"):
        load_base(str(copy), cache_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_sam_for_other_sizes_is_refused(lively_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lively_dir, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["image_size"] = config["prompt_encoder_config"]["image_size"] = 512
    (copy / "config.json").write_text(json.dumps(config))

    with pytest.raises(BadWeights, match=r"copy (is a SAM for 512 px|lacks|holds no SAM)"):
        load_base(str(copy), cache_dir=tmp_path)


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has it")

    with pytest.raises(BadWeights, match="SAMLOOP_DEVICE=cuda, but PyTorch finds no such device"):
        load_base("mobile-sam", cache_dir=tmp_path, device="cuda")


def test_mobile_sam_is_the_default_on_a_cpu() -> None:
    assert base_name(None, device="cpu") == "mobile-sam"
    assert base_name("facebook/sam-vit-base", device="cpu") == "facebook/sam-vit-base"


# Checkpoint folders as bases


def test_a_checkpoint_folder_loads_as_its_base_with_its_decoder(  # noqa: PLR0917 - fixtures
    lively_dir: Path, tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tiny-sam").symlink_to(lively_dir)
    write_checkpoint(folder, weights=nudged(2), manifest=manifest)

    loaded = load_base(str(folder), cache_dir=tmp_path, dtype="float32")

    assert loaded.name == "tiny-v1"
    assert loaded.encoder_fingerprint == tiny_base.encoder_fingerprint
    assert loaded.fingerprint != tiny_base.fingerprint
    assert decoder_bytes(loaded.model.mask_decoder) == nudged(2)


def test_a_checkpoint_whose_base_is_not_here_says_where_to_put_it(
    nudged: Nudged, manifest: Manifest, folder: Path, tmp_path: Path
) -> None:
    write_checkpoint(folder, weights=nudged(2), manifest=manifest)

    with pytest.raises(BadWeights, match=f"tiny-v1 was trained on 'tiny-sam'.*link it at {tmp_path}/weights/tiny-sam"):
        load_base(str(folder), cache_dir=tmp_path)


def test_a_checkpoint_that_names_itself_as_its_base_ends(
    nudged: Nudged, manifest: Manifest, folder: Path, tmp_path: Path
) -> None:
    write_checkpoint(folder, weights=nudged(2), manifest=dataclasses.replace(manifest, base_model=str(folder)))

    with pytest.raises(
        BadWeights,
        match=r"^tiny-v1 was trained on .*, which it needs: [^:]* a chain of more than 8 trainings on checkpoints",
    ):
        load_base(str(folder), cache_dir=tmp_path)


def published(base: BaseModel, folder: Path) -> Path:
    """A checkpoint of the base as a training writes it, with where the base lay."""
    manifest = make_manifest(
        base_model=base.name, base_fingerprint=base.fingerprint, config=Recipe(adapter=None, base_source=base.source)
    )
    write_checkpoint(folder, weights=decoder_bytes(base.model.mask_decoder), manifest=manifest)
    return folder


def test_a_checkpoint_finds_the_folder_that_its_base_was_given_by(
    lively_dir: Path, folder: Path, tmp_path: Path
) -> None:
    base = load_base(str(lively_dir), cache_dir=tmp_path, device="cpu", dtype="float32")
    assert base.source == str(lively_dir.resolve())
    again = load_as_stored(str(published(base, folder)), cache_dir=tmp_path)
    assert again.encoder_fingerprint == load_as_stored(str(lively_dir), cache_dir=tmp_path).encoder_fingerprint


def test_a_checkpoint_on_another_machine_takes_the_base_that_serves_there(
    lively_dir: Path, folder: Path, tmp_path: Path
) -> None:
    there = shutil.copytree(lively_dir, tmp_path / "there")
    published(load_base(str(there), cache_dir=tmp_path, device="cpu", dtype="float32"), folder)
    shutil.rmtree(there)
    with pytest.raises(BadWeights, match="was trained on 'there', which it needs"):
        load_as_stored(str(folder), cache_dir=tmp_path)
    again = load_as_stored(str(folder), cache_dir=tmp_path, otherwise=str(lively_dir))
    assert again.family.name == "sam"


def test_a_base_that_has_other_weights_now_is_refused_with_the_next_step(
    lively_dir: Path, tiny_sam_dir: Path, folder: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(lively_dir, tmp_path / "place")
    published(load_base(str(place), cache_dir=tmp_path, device="cpu", dtype="float32"), folder)
    shutil.copy(Path(tiny_sam_dir) / "model.safetensors", place)
    with pytest.raises(BadWeights, match=r"has other weights .*: put those back, or set SAMLOOP_MODEL to where they"):
        load_as_stored(str(folder), cache_dir=tmp_path)


def test_a_checkpoint_may_be_the_base_of_the_next(lively_dir: Path, tmp_path: Path) -> None:
    first = published(load_base(str(lively_dir), cache_dir=tmp_path, device="cpu", dtype="float32"), tmp_path / "first")
    between = load_base(str(first), cache_dir=tmp_path, device="cpu", dtype="float32")
    second = published(between, tmp_path / "second")
    assert load_base(str(second), cache_dir=tmp_path, device="cpu").fingerprint == between.fingerprint
