"""Embeddings are computed once, kept within bounds, and survive on disk or are computed again."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.sam.embeddings import DiskEmbeddings, EmbeddingCache, EmbeddingKey
from backend.sam.predictor import Embedding

EACH = 4 * 8 * 4 * 4


def embedding(value: float = 0.0) -> Embedding:
    return Embedding(features=torch.full((1, 8, 4, 4), value), height_px=30, width_px=40)


def key(image: int | str, *, encoder: str = "encoder", preprocessing: str = "plain") -> EmbeddingKey:
    return EmbeddingKey(image_sha256=str(image), encoder_fingerprint=encoder, preprocessing=preprocessing)


def test_however_many_ask_at_once_it_is_computed_once() -> None:
    cache, computed, together = EmbeddingCache(10 * EACH), [], threading.Barrier(16)

    def compute() -> Embedding:
        computed.append(1)
        time.sleep(0.05)
        return embedding(7.0)

    def client(_: int) -> Embedding:
        together.wait()
        return cache.get(key("one"), compute)

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(client, range(16)))

    assert len(computed) == 1
    assert all(answer is answers[0] for answer in answers)
    assert (cache.misses, cache.hits) == (1, 15)


def test_two_images_are_computed_side_by_side() -> None:
    cache, both = EmbeddingCache(10 * EACH), threading.Barrier(2, timeout=5)

    def compute() -> Embedding:
        both.wait()  # breaks, if one waits for the other
        return embedding()

    with ThreadPoolExecutor(2) as clients:
        assert len(list(clients.map(lambda image: cache.get(key(image), compute), range(2)))) == 2


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    cache, asked = EmbeddingCache(10 * EACH), threading.Event()

    def fail() -> Embedding:
        asked.wait(5)
        raise ValueError("no such image")

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(cache.get, key("bad"), fail) for _ in range(4)]
        asked.set()
        for answer in answers:
            with pytest.raises(ValueError, match="no such image"):
                answer.result()

    assert cache.get(key("bad"), lambda: embedding(1.0)).features[0, 0, 0, 0] == 1.0


@settings(max_examples=50, deadline=None)
@given(room=st.integers(0, 5), asked=st.lists(st.integers(0, 8), max_size=60))
def test_it_keeps_the_images_used_last_and_never_more_than_its_bytes(room: int, asked: list[int]) -> None:
    cache, last = EmbeddingCache(room * EACH), []

    for image in asked:
        misses = cache.misses
        got = cache.get(key(image), lambda image=image: embedding(float(image)))

        assert got.features[0, 0, 0, 0] == image
        assert (cache.misses == misses) is (image in last[-room:] if room else False)
        last = [*(each for each in last if each != image), image]
        assert cache.bytes == len(cache) * EACH <= room * EACH
    assert cache.hits + cache.misses == len(asked)


@pytest.mark.parametrize("other", [key("a", encoder="tuned"), key("a", preprocessing="cropped"), key("b")])
def test_an_encoder_a_preprocessing_or_an_image_more_is_a_miss(other: EmbeddingKey) -> None:
    cache = EmbeddingCache(10 * EACH)
    cache.get(key("a"), embedding)

    cache.get(other, embedding)

    assert cache.misses == 2


def test_what_was_put_on_disk_comes_back_and_can_be_trained_with(tmp_path: Path) -> None:
    made = Embedding(features=torch.randn(1, 8, 4, 4), height_px=123, width_px=45_678)

    DiskEmbeddings(tmp_path / "new").put(key("a"), made)
    back = DiskEmbeddings(tmp_path / "new").get(key("a"))

    assert back is not None
    assert torch.equal(back.features, made.features)
    assert (back.height_px, back.width_px) == (123, 45_678)
    assert not back.features.is_inference()


def test_what_was_never_put_is_absent(tmp_path: Path) -> None:
    kept = DiskEmbeddings(tmp_path)
    kept.put(key("a"), embedding())

    assert kept.get(key("b")) is None
    assert kept.get(key("a", encoder="tuned")) is None
    assert DiskEmbeddings(tmp_path / "nowhere").get(key("a")) is None


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda _: b"", lambda data: b"\xff" * 8 + data[8:]],
    ids=["cut short", "empty", "a header too long"],
)
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    kept = DiskEmbeddings(tmp_path)
    kept.put(key("a"), embedding())
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))

    assert kept.get(key("a")) is None


def test_readers_never_see_a_half_written_file(tmp_path: Path) -> None:
    kept, stop = DiskEmbeddings(tmp_path), threading.Event()
    kept.put(key("a"), embedding())

    def write() -> None:
        while not stop.is_set():
            kept.put(key("a"), embedding(1.0))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        assert all(kept.get(key("a")) is not None for _ in range(300))
        stop.set()
    for writer in writers:
        writer.result()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_peek_finds_what_is_kept_and_computes_nothing() -> None:
    cache = EmbeddingCache(10 * EACH)
    assert cache.peek(key("a")) is None

    made = cache.get(key("a"), embedding)

    assert cache.peek(key("a")) is made
    assert (cache.misses, cache.hits) == (1, 1)
