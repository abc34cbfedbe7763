"""The base finds its masks of unrelated photographs once, and no photograph both measures and is replayed."""

import io
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.pictures import encode_image

from backend.errors import Unavailable
from backend.sam.automatic import AutomaticRules
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor, base_predictor
from finetuner.data import generic
from finetuner.data.embeddings import Embeddings
from finetuner.data.generic import MEASURED, REPLAYED, generic_samples

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


def test_what_measures_is_not_replayed_and_all_of_it_is_in_the_wheel() -> None:
    assert not set(MEASURED) & set(REPLAYED)
    assert not {"coins.png", "brick.png"} & {*MEASURED, *REPLAYED}  # of which the demo's projects are made
    for name in (*MEASURED, *REPLAYED):
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
