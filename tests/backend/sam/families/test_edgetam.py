"""EdgeTAM: the maps and the masks are those of transformers' own forward pass, whatever convolutions see the image."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor
from transformers import AutoModel, EdgeTamModel

from backend.errors import BadInput, BadWeights
from backend.masks.prompt import Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.memory import halve
from backend.sam.families.edgetam import FAMILY
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from finetuner.methods import new_method
from tests.support.plain_masks import IMAGE, PROMPTS, assert_masks_of_transformers


@pytest.fixture(scope="module")
def edgetam_folder(small_folder: Callable[[str], Path]) -> Path:
    """A `save_pretrained` folder of a random EdgeTAM."""
    return small_folder("edgetam")


@pytest.fixture(scope="module")
def base_folder(edgetam_folder: Path) -> Path:
    return edgetam_folder


@pytest.fixture(scope="module")
def plain(edgetam_folder: Path) -> EdgeTamModel:
    return EdgeTamModel.from_pretrained(edgetam_folder).eval()


@pytest.fixture(scope="module")
def maps(plain: EdgeTamModel) -> list[Tensor]:
    return list(plain.get_image_embeddings(pixels_on_canvas(IMAGE, frame=FAMILY.frame)))


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_every_kind_of_prompt_gets_transformers_masks(
    base: BaseModel, plain: EdgeTamModel, maps: list[Tensor], prompt: Prompt
) -> None:
    embedding = encode(base, IMAGE)
    served = Predictor(base, decoder_of(base, None), version="x")
    assert_masks_of_transformers(served, embedding, plain, prompt=prompt, image_embeddings=maps)


def test_an_embedding_has_the_three_maps_of_sam_2(base: BaseModel) -> None:
    maps = halve(encode(base, IMAGE)).maps
    assert [tuple(values.shape) for values in maps] == [(1, 32, 64, 64), (1, 8, 128, 128), (1, 4, 256, 256)]


def test_a_step_of_the_method_decoder_moves_the_masks(base: BaseModel) -> None:
    method = new_method("decoder", base)
    logits, _ = method.decode(encode(base, IMAGE), [PROMPTS["a box"]])
    logits.square().mean().backward()
    assert method.trainable()["mask_tokens.weight"].grad is not None


@pytest.mark.parametrize("name", ["lora", "conv-lora"])
def test_an_adapter_is_refused_with_the_method_that_works(base: BaseModel, name: str) -> None:
    with pytest.raises(BadInput, match=r"no plain qkv layer .* SAMLOOP_METHOD=decoder"):
        new_method(name, base)


def test_without_timm_the_folder_is_refused_with_the_extra_to_install(
    edgetam_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_timm(*_: object, **__: object) -> None:
        raise ImportError("TimmWrapperModel requires the timm library but it was not found in your environment.")

    folder = shutil.copytree(edgetam_folder, tmp_path / "edgetam")
    monkeypatch.setattr(AutoModel, "from_config", without_timm)
    with pytest.raises(
        BadWeights, match=r"timm cannot be imported here: install it by `pip install 'samloop\[edgetam\]'`"
    ):
        load_base(str(folder), cache_dir=tmp_path, device="cpu", dtype="float32")
