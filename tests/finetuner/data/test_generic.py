"""The base finds its masks of unrelated photographs once, and no photograph both measures and is replayed."""

import io
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.pictures import encode_image

from backend.errors import Unavailable
from backend.sam.automatic import AutomaticRules
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor, base_predictor
from finetuner.data import generic
from finetuner.data.embeddings import Embeddings
from finetuner.data.generic import EVERYDAY, MEASURED, REPLAYED, everyday_directions, generic_samples

# Random weights are sure of nothing: whatever they draw counts.
ANYTHING = AutomaticRules(points=2, most=2, least_score=0.0, most_area=1.0)


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch, discs: Callable[..., Any]) -> None:
    """Drawn photographs, in which random weights see something too."""
    monkeypatch.setattr(generic, "photograph", lambda name: encode_image(discs(len(name))[0]))
    monkeypatch.setattr(generic, "RULES", ANYTHING)


@pytest.fixture
def embeddings(tiny_base: BaseModel, tmp_path: Path) -> Embeddings:
    return Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "disk", max_bytes=1 << 30), max_pixels=10**6)


def test_what_measures_is_neither_replayed_nor_compared_with_and_all_of_it_is_in_the_wheel() -> None:
    groups = (set(MEASURED), set(REPLAYED), set(EVERYDAY))
    assert len(set().union(*groups)) == sum(map(len, groups))
    assert not {"coins.png", "brick.png"} & set().union(*groups)  # of which the demo's projects are made
    for name in (*MEASURED, *REPLAYED, *EVERYDAY):
        with Image.open(io.BytesIO(generic.photograph(name))) as image:
            assert min(image.size) >= 191


@pytest.mark.usefixtures("photographs")
def test_what_the_base_finds_is_looked_for_once_for_each_base(
    tiny_base: BaseModel, embeddings: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = generic.automatic_masks

    def spy(predictor: Predictor, *args: Any, **more: Any) -> Any:
        looked.append(predictor.base.fingerprint)
        return real(predictor, *args, **more)

    monkeypatch.setattr(generic, "automatic_masks", spy)

    def found(base: BaseModel) -> list[tuple[int, int, bytes]]:
        (sample,) = generic_samples(
            ("cat.png",), plain=base_predictor(base), embeddings=embeddings, folder=tmp_path / "generic"
        )
        return [(item.bounds.y0_px, item.bounds.x0_px, item.packed.bits) for item in sample.objects]

    first = found(tiny_base)
    assert 1 <= len(first) <= ANYTHING.most
    assert found(tiny_base) == first
    assert len(looked) == 1
    (file,) = (tmp_path / "generic").glob("*.json")
    file.write_text(file.read_text()[:-20])  # as a full disk leaves it
    assert found(tiny_base) == first
    assert len(looked) == 2
    found(replace(tiny_base, fingerprint="another"))
    assert looked[2:] == ["another"]


def test_without_scikit_image_the_error_names_the_photograph_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(package: str) -> Any:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(resources, "files", gone)
    with pytest.raises(Unavailable, match=r"lacks moon.png: pip install scikit-image"):
        generic.photograph("moon.png")


@pytest.mark.usefixtures("photographs")
def test_everyday_photographs_are_encoded_once_for_each_encoder(
    lively_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoded: list[str] = []
    real = generic.encode

    def spy(base: BaseModel, image: Image.Image) -> Any:
        encoded.append(base.encoder_fingerprint)
        return real(base, image)

    monkeypatch.setattr(generic, "encode", spy)
    first = everyday_directions(lively_base, folder=tmp_path)
    assert first.shape == (10, lively_base.image_positions.shape[1])
    torch.testing.assert_close(first.norm(dim=1), torch.ones(10))
    assert torch.equal(everyday_directions(lively_base, folder=tmp_path), first)
    assert encoded == [lively_base.encoder_fingerprint] * 10
    everyday_directions(replace(lively_base, encoder_fingerprint="other"), folder=tmp_path)
    assert encoded[10:] == ["other"] * 10

    for path in tmp_path.iterdir():
        path.write_bytes(b"torn")
    assert torch.equal(everyday_directions(lively_base, folder=tmp_path), first)
    assert "is damaged" in caplog.text
