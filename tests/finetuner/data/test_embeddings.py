"""A training takes embeddings from the tier that the server fills, and makes again what was pushed out of it."""

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.domains import set_apart
from support.pictures import encode_image

from backend.errors import NothingToLearn, Unavailable, Upstream
from backend.masks.crop import list_tiles
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import base_predictor, encode
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Priority, Traffic
from finetuner.data import embeddings as encoding
from finetuner.data.embeddings import Embeddings
from finetuner.data.sample import Sample

MAX_PIXELS = 1_000_000


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return encode_image(pixels)


DATA = picture(0)
SHA256 = hashlib.sha256(DATA).hexdigest()
SAMPLE = Sample(image_sha256=SHA256, height_px=24, width_px=32, objects=())


@pytest.fixture
def disk(tmp_path: Path) -> DiskEmbeddings:
    return DiskEmbeddings(tmp_path / "embeddings", max_bytes=1 << 30)


@pytest.fixture
def server(disk: DiskEmbeddings) -> Iterator[EmbeddingStore]:
    lane = Lane("encode", workers=2, waiting=9, cores=1, traffic=Traffic())
    yield EmbeddingStore(memory=MemoryEmbeddings(1 << 30), disk=disk, lane=lane)
    lane.close()


def test_what_a_click_encoded_a_training_does_not_and_it_sees_the_same(
    tiny_base: BaseModel, disk: DiskEmbeddings, server: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = EmbeddingKey.of(SHA256, tiny_base)
    image = Image.open(io.BytesIO(DATA)).convert("RGB")
    clicked = server.get(key, lambda: encode(tiny_base, image), priority=Priority.CLICK, until_s=math.inf)

    monkeypatch.setattr(encoding, "encode", lambda *_, **__: pytest.fail("encoded again"))
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=lambda: DATA)

    learnt = embeddings(SAMPLE)
    assert torch.equal(learnt.features, clicked.features)
    assert learnt.features.dtype == torch.float32


def test_what_a_training_encoded_a_click_finds(
    tiny_base: BaseModel, disk: DiskEmbeddings, server: EmbeddingStore
) -> None:
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=lambda: DATA)

    found = server.peek(EmbeddingKey.of(SHA256, tiny_base))

    assert found is not None
    assert torch.equal(found.features, embeddings(SAMPLE).features)


def test_an_embedding_that_others_pushed_out_is_made_again_and_is_the_same(
    tiny_base: BaseModel, disk: DiskEmbeddings
) -> None:
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=lambda: DATA)
    before = embeddings(SAMPLE)
    for file in disk.folder.glob("*.safetensors"):
        file.unlink()

    assert torch.equal(embeddings(SAMPLE).features, before.features)
    assert disk.usage_bytes() > 0, "and it is kept again"


def _no_longer() -> bytes:
    raise FileNotFoundError("no such file")


@pytest.mark.parametrize("again", [lambda: picture(1), _no_longer], ids=["another image", "no image"])
def test_one_whose_image_is_gone_too_is_told(tiny_base: BaseModel, disk: DiskEmbeddings, again: object) -> None:
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=again)
    for file in disk.folder.glob("*.safetensors"):
        file.unlink()

    with pytest.raises(NothingToLearn, match="is gone from the cache folder"):
        embeddings(SAMPLE)


def test_an_image_that_is_away_for_a_moment_is_something_to_try_again(
    tiny_base: BaseModel, disk: DiskEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> bytes:
        raise Upstream("Label Studio answered 502")

    monkeypatch.setattr("finetuner.patience.PAUSES_S", (0.0, 0.0))
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=away)
    for file in disk.folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(Unavailable, match="cannot be read again at the moment: Label Studio answered 502"):
        embeddings(SAMPLE)


@pytest.mark.parametrize(
    ("picture_bytes", "file_bytes", "expected"),
    # The one used least recently goes.
    [(2 * 1024 * 768 * 3, 0, [0, 1, 2, 1]), (0, 0, [0, 1, 0, 2, 0, 1]), (0, 1 << 20, [0, 1, 2])],
    ids=["two pictures stay", "nothing stays", "all files stay"],
)
def test_pictures_to_train_an_encoder_with_are_read_again_and_boundedly_many_kept(
    tiny_base: BaseModel, disk: DiskEmbeddings, picture_bytes: int, file_bytes: int, expected: list[int]
) -> None:
    embeddings, read = (
        Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS, picture_bytes=picture_bytes, file_bytes=file_bytes),
        [],
    )
    samples = []
    for seed in range(3):
        data = picture(seed)
        digest = hashlib.sha256(data).hexdigest()
        embeddings.ensure(digest, data, again=lambda seed=seed, data=data: read.append(seed) or data)
        samples.append(Sample(image_sha256=digest, height_px=24, width_px=32, objects=()))
    for index in (0, 1, 0, 2, 0, 1):
        assert embeddings.picture(samples[index]).size == (1024, 768)
    assert read == expected
    other = replace(tiny_base, encoder_fingerprint="another")
    assert embeddings.by(tiny_base) is embeddings
    if picture_bytes:
        assert embeddings.by(other).picture(samples[1]) is embeddings.picture(samples[1])


def test_an_adapters_version_with_a_domain_gets_the_bases_embeddings_too(
    tiny_base: BaseModel, disk: DiskEmbeddings
) -> None:
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=lambda: DATA)
    seen = embeddings(SAMPLE)
    adapted = replace(base_predictor(tiny_base), base=replace(tiny_base, encoder_fingerprint="adapted"))
    apart = set_apart(adapted, inside=seen, elsewhere=seen, plain=base_predictor(tiny_base))
    both = embeddings.suiting(apart)
    by_base = both(SAMPLE).by_base
    assert by_base is not None
    assert torch.equal(by_base().features, seen.features)
    assert by_base().encode_tile is not None
    # Nobody needs them where one encoder sees for both, or where the version answers all images.
    assert embeddings.suiting(set_apart(base_predictor(tiny_base), inside=seen, elsewhere=seen)) is embeddings
    assert embeddings.suiting(adapted)(SAMPLE).by_base is None
    assert both.suiting(adapted)(SAMPLE).by_base is not None


def test_a_tile_is_encoded_as_an_image_of_its_own_and_once_for_trainings_and_clicks(
    tiny_base: BaseModel, disk: DiskEmbeddings, server: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=MAX_PIXELS)
    embeddings.ensure(SHA256, DATA, again=lambda: DATA)
    tile = list_tiles(1.5)[3]
    crop = tile.crop(24, 32)
    alone = encode(tiny_base, Image.open(io.BytesIO(DATA)).convert("RGB").crop(crop.corners_px))

    encode_tile = embeddings(SAMPLE).encode_tile
    assert encode_tile is not None
    of_tile = encode_tile(tile)
    assert (of_tile.height_px, of_tile.width_px) == (crop.y1_px - crop.y0_px, crop.x1_px - crop.x0_px)
    torch.testing.assert_close(of_tile.features, alone.features, atol=2e-3, rtol=2e-3)
    monkeypatch.setattr(encoding, "encode", lambda *_, **__: pytest.fail("encoded again"))
    assert torch.equal(encode_tile(tile).features, of_tile.features)
    assert server.peek(EmbeddingKey.of(SHA256, tiny_base, crop=crop)) is not None, "and a click finds it"
