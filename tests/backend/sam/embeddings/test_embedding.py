"""The maps of one image."""

import torch

from backend.sam.embeddings.embedding import Embedding

COARSE, FINE = torch.ones(1, 8, 4, 4), torch.zeros(1, 2, 16, 16)


def test_the_coarsest_map_comes_first_and_all_of_them_count() -> None:
    embedding = Embedding(COARSE, 30, 40, (FINE,))
    assert embedding.maps == (COARSE, FINE)
    assert embedding.nbytes == 4 * (8 * 4 * 4 + 2 * 16 * 16)


def test_a_change_reaches_every_map_and_leaves_the_embedding_as_it_was() -> None:
    embedding = Embedding(COARSE, 30, 40, (FINE,))
    changed = embedding.with_maps(lambda values: values + 1)
    assert [float(values.mean()) for values in changed.maps] == [2.0, 1.0]
    assert (changed.height_px, changed.width_px) == (30, 40)
    assert embedding.maps == (COARSE, FINE)
