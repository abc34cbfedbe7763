"""No decoder is served that is not exactly what its manifest says."""

import dataclasses
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from backend.errors import BadCheckpoint, NotFound
from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE, Manifest, write_checkpoint
from backend.registry.metrics import CheckpointMetrics
from backend.sam.embeddings.domain import Domain, with_domain
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, find_trained
from backend.sam.predictor import base_predictor, predictor_of

Nudged = Callable[[int], bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


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
    "a pickle": (lambda weights: pickle.dumps({"weights": weights}), "not safetensors"),
    "nothing": (lambda _: b"", "not safetensors"),
    "a header of 2^63 bytes": (lambda weights: struct.pack("<Q", 1 << 63) + weights[8:], "not safetensors"),
    "a header longer than the file": (lambda weights: header({}, length=1 << 30) + weights, "not safetensors"),
    "overlapping offsets": (overlapping, "not safetensors"),
    "cut short": (lambda weights: weights[: len(weights) // 2], "not safetensors"),
    "bytes too many": (lambda weights: weights + bytes(1 << 21), "weights that fit this base take at most"),
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
    """Fails without the look at names, shapes and finite numbers of what was loaded."""
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
        ({"method": "magic"}, "tiny-v1 was trained by 'magic'; samloop can serve decoder, conv-lora, lora"),
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


@pytest.fixture
def domain(tiny_base: BaseModel) -> Domain:
    channels = tiny_base.image_positions.shape[1]
    return Domain(learnt=torch.eye(channels)[:3], others=torch.eye(channels)[3:5], radius=0.125)


def with_counts(manifest: Manifest, **counts: float) -> Manifest:
    metrics = CheckpointMetrics.from_json({"domain": {"learnt": 3, "others": 2, "radius": 0.125, **counts}})
    return dataclasses.replace(manifest, metrics=metrics)


def test_a_domain_comes_back_as_it_was_and_the_base_answers_outside(
    tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path, domain: Domain
) -> None:
    write_checkpoint(folder, weights=with_domain(nudged(3), domain), manifest=with_counts(manifest))

    found = find_trained(tiny_base, folder).domain
    assert found is not None
    assert torch.equal(found.learnt, domain.learnt)
    assert torch.equal(found.others, domain.others)
    assert found.radius == domain.radius

    plain = base_predictor(tiny_base)
    served = predictor_of(tiny_base, folder, plain=plain)
    assert served.outside is not None
    assert served.outside.predictor is plain, "the base's decoder is not in memory once for every project"
    assert predictor_of(tiny_base, folder).outside is not None


def test_a_domain_that_is_not_what_its_manifest_says_is_refused(
    tiny_base: BaseModel, nudged: Nudged, manifest: Manifest, folder: Path, domain: Domain
) -> None:
    write_checkpoint(folder, weights=nudged(3), manifest=with_counts(manifest))
    with pytest.raises(BadCheckpoint, match=r"missing or unknown domain\.learnt, domain\.others"):
        find_trained(tiny_base, folder)
    write_checkpoint(folder, weights=with_domain(nudged(3), domain), manifest=with_counts(manifest, learnt=4))
    with pytest.raises(BadCheckpoint, match=r"domain\.learnt has shape \(3, "):
        find_trained(tiny_base, folder)
    for counts in ({"learnt": 0}, {"others": 5000}, {"radius": -1.0}, {"radius": "wide"}):
        with pytest.raises(BadCheckpoint, match=f"metrics.domain.{next(iter(counts))}"):
            with_counts(manifest, **counts)  # type: ignore[arg-type]
