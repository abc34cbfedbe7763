"""Views of an image: masks move with it to the pixel, and their embeddings are kept like any other."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from backend.masks.crop import Crop
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding
from backend.settings.bounds import VIEWS as VIEWS_BOUNDS
from finetuner.config import TrainConfig
from finetuner.data import embeddings as encoding
from finetuner.data.embeddings import Embeddings
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.data.views import VIEWS, View
from finetuner.methods import new_method
from finetuner.training.loop import Trainer

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]
masks = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))).filter(np.any)
views = st.builds(
    View, is_mirrored=st.booleans(), quarter_turns=st.integers(0, 3), extent=st.sampled_from((0.5, 0.8, 1.0, 1.25))
)


@given(masks, views)
def test_a_mask_moves_with_the_picture_to_the_pixel(mask: np.ndarray, view: View) -> None:
    """The image is the mask, painted."""
    painted = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    seen = np.asarray(view.image(Image.fromarray(painted), beyond=SAM_FRAME.mean_colour))
    assert seen.shape[:2] == view.size_px(*mask.shape)
    assert np.array_equal(view.mask(mask), (seen == 255).all(2))


@given(masks, views)
def test_an_object_moves_as_its_mask_does(mask: np.ndarray, view: View) -> None:
    item, whole = LabelledMask.of(mask, label="Disc"), view.mask(mask)
    seen = view.item(item)
    if whole.sum() < 0.5 * mask.sum():
        assert seen is None
    else:
        assert seen is not None
        assert np.array_equal(seen.mask, whole)
        assert (seen.label, seen.box) == ("Disc", LabelledMask.of(whole, label=None).box)


@given(masks, st.booleans(), st.integers(0, 3))
def test_there_and_back_again_is_the_same(mask: np.ndarray, is_mirrored: bool, turns: int) -> None:
    there = View(is_mirrored=is_mirrored, quarter_turns=turns)
    # Mirrored first, turned then: the way back of a mirrored view is the view itself.
    back = there if is_mirrored else View(quarter_turns=-turns % 4)
    assert np.array_equal(back.mask(there.mask(mask)), mask)
    item = LabelledMask.of(mask, label=None)
    assert np.array_equal(back.item(there.item(item)).mask, mask)  # type: ignore[arg-type, union-attr]


@given(masks)
def test_a_margin_only_adds_background(mask: np.ndarray) -> None:
    seen = View(extent=1.25).mask(mask)
    assert np.array_equal(seen[: mask.shape[0], : mask.shape[1]], mask)
    assert seen.sum() == mask.sum()


def test_the_views_differ_and_the_first_is_the_image_itself() -> None:
    assert VIEWS[0].is_identity
    assert len({view.key for view in VIEWS}) == len(VIEWS) == VIEWS_BOUNDS.highest


@pytest.mark.parametrize("views", [0, 9])
def test_as_many_views_as_there_are(views: int) -> None:
    with pytest.raises(ValueError, match=rf"views={views} cannot be used: views is from 1 to 8"):
        TrainConfig(views=views)


@pytest.fixture
def embeddings(tiny_base: BaseModel, tmp_path: Path) -> Iterator[Embeddings]:
    yield Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path, max_bytes=1 << 30), max_pixels=10**6)


@pytest.fixture
def disc_sample(embeddings: Embeddings, sample: Sample, discs: Discs, png: Callable[..., bytes]) -> Sample:
    """The two discs of seed 0, encoded."""
    data = png(discs(0)[0])
    embeddings.ensure(hashlib.sha256(data).hexdigest(), data, again=lambda: data)
    return replace(sample, image_sha256=hashlib.sha256(data).hexdigest())


def test_a_view_is_encoded_once_and_never_taken_for_another(
    embeddings: Embeddings, disc_sample: Sample, discs: Discs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, image = disc_sample, discs(0)[0]
    encoded = []
    real = encoding.encode

    def spy(base: BaseModel, image: Image.Image, *, crop: Crop | None) -> object:
        encoded.append(image)
        return real(base, image, crop=crop)

    monkeypatch.setattr(encoding, "encode", spy)
    for view in VIEWS[1:]:
        seen = sample.apply_view(view)
        first, again = embeddings(seen), embeddings(seen)
        assert (first.height_px, first.width_px) == (seen.height_px, seen.width_px)
        assert bool((first.features == again.features).all())
        assert np.array_equal(np.asarray(encoded[-1]), np.asarray(view.image(image, beyond=SAM_FRAME.mean_colour)))
    embeddings(sample)
    assert len(encoded) == len(VIEWS) - 1
    # An adapter is shown the same pixels: here they are only resized.
    upright, turned = embeddings.picture(sample), embeddings.picture(sample.apply_view(View(quarter_turns=1)))
    assert np.abs(np.rot90(np.asarray(upright)).astype(int) - np.asarray(turned)).max() <= 1


@pytest.mark.parametrize("method", ["decoder", "lora"])
def test_the_same_seed_gives_the_same_weights_and_learns_from_every_view(
    tiny_base: BaseModel, embeddings: Embeddings, disc_sample: Sample, method: str
) -> None:

    def trained(views: int | None, *, epochs: int = 6) -> tuple[bytes, set[View]]:
        config = TrainConfig(
            method=method,
            views=views,
            epochs=epochs,
            decodes=None,
            seconds=3600.0,
            precision="float32",
            corrective_share=0.0,
            adapter_joins=0.5,
            rank=1,
            recompute=False,
        )
        torch.manual_seed(0)
        learner, seen = new_method(method, tiny_base, config=config), set()

        def look(at: Sample) -> Embedding:
            seen.add(at.view)
            return learner.embed(at, embeddings=embeddings, learns=True)

        trainer = Trainer(learner, [disc_sample], config=config, embedding=look)
        for _ in trainer.steps():
            pass
        assert len(seen) == trainer.ended_at.views
        return learner.weights(), seen

    first, seen = trained(2)
    assert seen == set(VIEWS[:2])
    assert first == trained(2)[0]
    if method == "decoder":
        assert trained(1)[1] == trained(None)[1] == {VIEWS[0]}
        assert trained(None, epochs=24)[1] == set(VIEWS[:3])
