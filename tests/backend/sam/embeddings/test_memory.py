"""Embeddings are rounded once, and those used last stay in memory, never more than their bytes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings, halve, widen

IMAGE_BYTES = 8 * 4 * 4 * 2


def embedding(value: float = 0.0) -> Embedding:
    return halve(Embedding(features=torch.full((1, 8, 4, 4), value), height_px=30, width_px=40))


def key(image: int | str, *, encoder: str = "encoder", preprocessing: str = "plain") -> EmbeddingKey:
    return EmbeddingKey(image_sha256=str(image), encoder_fingerprint=encoder, preprocessing=preprocessing)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=16, max_size=16))
def test_rounding_twice_is_rounding_once_and_nothing_becomes_infinite(values: list[float]) -> None:
    made = Embedding(features=torch.tensor(values).reshape(1, 1, 4, 4), height_px=30, width_px=40)

    once = widen(halve(made))

    assert torch.equal(widen(halve(once)).features, once.features)
    assert torch.isfinite(once.features).all()
    small = made.features.abs() < 60_000
    assert torch.allclose(once.features[small], made.features[small], rtol=2**-11, atol=2**-25)


def test_a_halved_embedding_holds_nothing_but_itself_and_can_be_trained_with() -> None:
    with torch.inference_mode():
        wide = torch.randn(1, 16, 4, 4)
    kept = halve(Embedding(features=wide[:, :8], height_px=1, width_px=2))

    assert kept.features.untyped_storage().nbytes() == kept.features.nbytes == IMAGE_BYTES
    assert not widen(kept).features.requires_grad


@settings(max_examples=50, deadline=None)
@given(room=st.integers(0, 5), asked=st.lists(st.integers(0, 8), max_size=60))
def test_memory_keeps_the_images_used_last_and_never_more_than_its_bytes(room: int, asked: list[int]) -> None:
    memory, last = MemoryEmbeddings(room * IMAGE_BYTES), []

    for image in asked:
        found = memory.get(key(image))
        assert (found is not None) is (image in last[-room:] if room else False)
        assert found is None or found.features[0, 0, 0, 0] == image
        memory.put(key(image), embedding(float(image)))
        last = [*(other for other in last if other != image), image]
        assert memory.bytes == len(memory) * IMAGE_BYTES <= room * IMAGE_BYTES


def test_to_look_whether_it_is_there_is_no_use_of_it() -> None:
    memory = MemoryEmbeddings(2 * IMAGE_BYTES)
    memory.put(key("a"), embedding())
    memory.put(key("b"), embedding())

    assert key("a") in memory
    memory.put(key("c"), embedding())

    assert key("a") not in memory
