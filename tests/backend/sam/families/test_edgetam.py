"""EdgeTAM: the maps and the masks are those of transformers' own forward pass, whatever convolutions see the image."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, EdgeTamModel, Sam2Config, Sam2Model

from backend.errors import BadInput, BadWeights
from backend.masks.prompt import Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.memory import halve
from backend.sam.families import edgetam
from backend.sam.families.edgetam import FAMILY, edgetam_names
from backend.sam.families.original import model_of_file
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from finetuner.methods import new_method
from tests.support.original_names import empty_state, image_shapes, original_shapes, read_shapes, shapes_of
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


def test_edgetams_public_checkpoint_is_sam_2s_decoder_behind_timms_encoder_and_gets_its_names_back() -> None:
    named = edgetam_names(empty_state("edgetam"))
    with torch.device("meta"):
        like = Sam2Model(Sam2Config())
    decoder = {name: shape for name, shape in shapes_of(named).items() if not name.startswith("vision_encoder.")}
    assert decoder == {
        name: tuple(value.shape) for name, value in like.state_dict().items() if not name.startswith("vision_encoder.")
    }
    encoder = {name for name in named if name.startswith("vision_encoder.")}
    timm = {name.removeprefix("vision_encoder.backbone.timm_model.") for name in encoder if ".timm_model." in name}
    body = "image_encoder.trunk.body."
    assert timm == {name.removeprefix(body) for name in read_shapes("edgetam") if name.startswith(body)}
    neck = {f"vision_encoder.neck.convs.{level}.{part}" for level in range(4) for part in ("weight", "bias")}
    assert {name for name in encoder if ".timm_model." not in name} == neck
    like.state_dict = lambda: named  # type: ignore[method-assign]
    assert original_shapes(FAMILY, like) == image_shapes("edgetam")


def refuse_timm(*_: object, **__: object) -> None:
    """What transformers does where timm is missing."""
    raise ImportError("TimmWrapperModel requires the timm library but it was not found in your environment.")


def test_without_timm_the_folder_is_refused_with_the_extra_to_install(
    edgetam_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(edgetam_folder, tmp_path / "edgetam")
    monkeypatch.setattr(AutoModel, "from_config", refuse_timm)
    with pytest.raises(
        BadWeights, match=r"timm cannot be imported here: install it by `pip install 'samloop\[edgetam\]'`"
    ):
        load_base(str(folder), cache_dir=tmp_path, device="cpu", dtype="float32")


def test_edgetams_file_is_refused_with_the_extra_to_install_where_timm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgetam, "EdgeTamModel", refuse_timm)
    torch.save({"model": {"image_encoder.trunk.body.stem.conv1.c.weight": torch.zeros(1)}}, tmp_path / "edgetam.pt")
    with pytest.raises(BadWeights, match=r"timm cannot be imported here: install it by `pip install"):
        model_of_file(tmp_path / "edgetam.pt")
