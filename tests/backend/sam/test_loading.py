"""Bases load whole or not at all, and no decoder is served that is not exactly what its manifest says."""

import dataclasses
import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from backend.errors import BadCheckpoint, BadWeights, NotFound
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, Manifest, write_checkpoint
from backend.sam.loading import BaseModel, base_name, decoder_bytes, decoder_of, load_base

Nudged = Callable[[int], bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


# Bases


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


def test_a_folder_of_pickles_is_never_opened(lively_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lively_dir, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({}))

    with pytest.raises(BadWeights, match="holds no SAM that can be loaded"):
        load_base(str(copy), cache_dir=tmp_path)


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


# Decoders


def test_a_decoder_written_and_read_is_the_same(
    tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path
) -> None:
    write_checkpoint(folder, weights=nudged(3), manifest=manifest)

    assert decoder_bytes(decoder_of(tiny_base, folder)) == nudged(3)


def test_every_decoder_is_a_copy_of_its_own(tiny_base: BaseModel) -> None:
    before = decoder_bytes(tiny_base.model.mask_decoder)

    decoder_of(tiny_base, None).iou_token.weight.add_(1.0)

    assert decoder_bytes(tiny_base.model.mask_decoder) == before == decoder_bytes(decoder_of(tiny_base, None))


def header(entries: object, *, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def overlapping(weights: bytes) -> bytes:
    (length,) = struct.unpack("<Q", weights[:8])
    entries = json.loads(weights[8 : 8 + length])
    first, second, *_ = (name for name in entries if name != "__metadata__")
    entries[second]["data_offsets"] = entries[first]["data_offsets"]
    return header(entries) + weights[8 + length :]


def changed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[bytes], bytes]:
    def make(weights: bytes) -> bytes:
        state = safetensors.torch.load(weights)
        change(state)
        return safetensors.torch.save(state)

    return make


IOU = "mask_decoder.iou_token.weight"
ATTACKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a pickle": (lambda weights: pickle.dumps({"weights": weights}), "no safetensors"),
    "nothing": (lambda _: b"", "no safetensors"),
    "a header of 2^63 bytes": (lambda weights: struct.pack("<Q", 1 << 63) + weights[8:], "no safetensors"),
    "a header longer than the file": (lambda weights: header({}, length=1 << 30) + weights, "no safetensors"),
    "overlapping offsets": (overlapping, "no safetensors"),
    "cut short": (lambda weights: weights[: len(weights) // 2], "no safetensors"),
    "bytes too many": (lambda weights: weights + bytes(1 << 21), "and what fits this base not over"),
    "not a number": (changed(lambda s: s[IOU].fill_(float("nan"))), "iou_token.weight holds numbers that are not fin"),
    "infinity": (changed(lambda s: s[IOU].view(-1)[:1].fill_(float("inf"))), "are not finite"),
    "integers": (changed(lambda s: s.update({IOU: torch.zeros(1, 32, dtype=torch.int32)})), "are not finite"),
    "another shape": (changed(lambda s: s.update({IOU: torch.zeros(32)})), r"has shape \(32,\), not \(1, 32\)"),
    "a weight missing": (changed(lambda s: s.pop(IOU)), r"missing or unknown mask_decoder\.iou_token\.weight"),
    "a weight too many": (changed(lambda s: s.update(extra=torch.zeros(1))), r"missing or unknown extra"),
    "names of another part": (
        changed(lambda s: s.update({f"prompt_encoder.{name}": s.pop(name) for name in list(s)})),
        "missing or unknown",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_decoder_with_the_right_digest_and_wrong_content_is_refused(
    tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path, attack: str
) -> None:
    make, sentence = ATTACKS[attack]
    write_checkpoint(folder, weights=make(nudged(1)), manifest=manifest)

    with pytest.raises(BadCheckpoint, match=f"the weights of tiny-v1.*{sentence}"):
        decoder_of(tiny_base, folder)


def test_a_flipped_byte_is_refused(tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path) -> None:
    write_checkpoint(folder, weights=nudged(1), manifest=manifest)
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)

    with pytest.raises(BadCheckpoint, match=hashlib.sha256(data).hexdigest()):
        decoder_of(tiny_base, folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"base_fingerprint": "0" * 64}, r"tiny-v1 was trained on 'tiny-sam' \(000000000000\), not on 'tiny-sam'"),
        ({"method": "magic"}, "tiny-v1 was trained by 'magic'; served can be decoder, conv-lora, lora"),
        ({"method": "lora"}, "the manifest of tiny-v1 says adapter='None': a rank from 1 to 256 and an alpha"),
    ],
)
def test_a_decoder_of_another_base_or_method_is_refused(  # noqa: PLR0917 - fixtures
    tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path, change: dict[str, str], sentence: str
) -> None:
    write_checkpoint(folder, weights=nudged(1), manifest=dataclasses.replace(manifest, **change))  # type: ignore[arg-type]

    with pytest.raises(BadCheckpoint, match=sentence):
        decoder_of(tiny_base, folder)


def test_a_folder_without_a_manifest_is_no_checkpoint(tiny_base: BaseModel, folder: Path) -> None:
    with pytest.raises(NotFound, match=MANIFEST_FILE):
        decoder_of(tiny_base, folder)


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

    with pytest.raises(BadWeights, match="holds no SAM that can be loaded"):
        load_base(str(folder), cache_dir=tmp_path)
