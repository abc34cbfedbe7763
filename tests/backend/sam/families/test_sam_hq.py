"""SAM-HQ: its finer maps and its masks are those of transformers' own forward pass, with one line of that mended.

transformers 5.23 enlarges the image as it was before the decoder's transformer, with rows and columns exchanged; the
paper's code enlarges what the transformer made of it, as SAM's does. Weights were trained with that.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import SamHQConfig, SamHQModel

from backend.errors import BadWeights
from backend.masks.prompt import Box, Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.memory import halve
from backend.sam.families.original import model_of_file
from backend.sam.families.sam_hq import FAMILY
from backend.sam.layers.fused_attention import FusedAttention
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from finetuner.methods import new_method
from finetuner.methods.base import Asked, Method
from tests.support.plain_masks import IMAGE, PROMPTS, answers, assert_masks_of_transformers, mend_sam_hq
from tests.support.small_bases import make_lively

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def sam_hq_folder(small_folder: Callable[[str], Path]) -> Path:
    """A `save_pretrained` folder of a random SAM-HQ."""
    return small_folder("sam-hq")


@pytest.fixture(scope="module")
def base_folder(sam_hq_folder: Path) -> Path:
    return sam_hq_folder


@pytest.fixture(scope="module")
def plain(sam_hq_folder: Path) -> SamHQModel:
    return mend_sam_hq(SamHQModel.from_pretrained(sam_hq_folder).eval())


@pytest.fixture(scope="module")
def seen(plain: SamHQModel) -> Seen:
    return seen_by(plain)


def seen_by(plain: SamHQModel) -> Seen:
    """What transformers' encoder gives its decoder."""
    features, early = plain.get_image_embeddings(pixels_on_canvas(IMAGE, frame=FAMILY.frame))
    return {"image_embeddings": features, "intermediate_embeddings": early}


def test_an_embedding_is_transformers_map_and_the_maps_for_fine_edges(
    embedding: Embedding, base: BaseModel, seen: Seen
) -> None:
    assert [tuple(values.shape) for values in embedding.maps] == [(1, 32, 64, 64), (1, 4, 256, 256)]
    torch.testing.assert_close(embedding.features, seen["image_embeddings"], atol=1e-4, rtol=1e-4)
    assert all(isinstance(layer.attn, FusedAttention) for layer in base.model.vision_encoder.layers)


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_every_kind_of_prompt_gets_transformers_masks(
    predictor: Predictor, embedding: Embedding, plain: SamHQModel, seen: Seen, prompt: Prompt
) -> None:
    assert_masks_of_transformers(predictor, embedding, plain, prompt=prompt, sorts=True, **seen)


def test_several_objects_get_the_masks_that_transformers_gives_them_together(
    predictor: Predictor, embedding: Embedding, plain: SamHQModel, seen: Seen
) -> None:
    boxes = [Prompt(box=Box(5.0 * n, 4.0, 30.0 + 6 * n, 50.0)) for n in range(3)]
    inputs = prompt_tensors(boxes, embedding, frame=FAMILY.frame)
    single, _ = answers(plain, inputs, multimask=False, **seen)
    for number, predicted in enumerate(predictor.decode(embedding, boxes)):
        np.testing.assert_allclose(predicted.low_res_logits, single[number, 0].numpy(), atol=2e-3, rtol=1e-3)


def test_the_further_token_has_its_say(base: BaseModel, embedding: Embedding, predictor: Predictor) -> None:
    deaf: Any = decoder_of(base, None)
    with torch.no_grad():
        deaf.hq_mask_mlp.proj_out.weight.zero_()
        deaf.hq_mask_mlp.proj_out.bias.zero_()
    (with_it,), (without,) = (
        served.decode(embedding, [PROMPTS["a box"]]) for served in (predictor, Predictor(base, deaf, version="x"))
    )
    assert not np.allclose(with_it.low_res_logits, without.low_res_logits, atol=0.1)


@pytest.mark.parametrize("name", ["decoder", "lora", "conv-lora"])
def test_a_step_of_training_moves_the_further_token_and_leaves_what_embeddings_depend_on(
    base: BaseModel, embedding: Embedding, name: str
) -> None:
    method: Method = new_method(name, base)
    before = {key: weight.detach().clone() for key, weight in method.trainable().items()}
    logits, ious = method.decode(embedding, list(PROMPTS.values())[:3])
    (logits.square().mean() + ious.mean()).backward()
    moved = {key for key, weight in method.trainable().items() if weight.grad is not None}
    assert {"mask_tokens.weight", "hq_token.weight", "hq_mask_mlp.proj_in.weight", "mask_conv1.weight"} <= moved
    assert not any(key.startswith(("compress_vit", "encoder_")) for key in moved)
    torch.optim.SGD(method.trainable().values(), lr=1e-3).step()
    assert any(not torch.equal(before[key], weight) for key, weight in method.trainable().items())


def test_prompts_of_several_images_are_decoded_with_their_own_fine_maps(base: BaseModel, embedding: Embedding) -> None:
    other = embedding.with_maps(lambda values: values.flip(2).contiguous(memory_format=torch.channels_last))
    method: Method = new_method("decoder", base)
    box = [PROMPTS["a box"]]
    together = method.decode_several([Asked(embedding, box), Asked(other, box)])
    for number, one in enumerate((embedding, other)):
        alone, _ = method.decode(one, box)
        torch.testing.assert_close(
            together.logits[number : number + 1], alone, atol=0.1, rtol=0.05
        )  # bfloat16, if fast here


def test_its_own_codes_file_and_ours_hold_the_same_weights(plain: SamHQModel, tmp_path: Path) -> None:
    original = FAMILY.original(plain)
    assert original.file == "sam_hq_vit.pth"
    assert "from segment_anything_hq import" in original.usage
    torch.save(dict(original.state), tmp_path / original.file)
    read: Any = model_of_file(tmp_path / original.file)
    assert isinstance(read, SamHQModel)
    state = read.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    assert read.config.mask_decoder_config.vit_dim == 16
    assert read.config.mask_decoder_config.layer_norm_eps == 1e-5  # as PyTorch's, which its code leaves as it is


def test_a_notebooks_file_under_transformers_names_is_the_model(plain: SamHQModel, tmp_path: Path) -> None:
    torch.save(plain.state_dict(), tmp_path / "notebook.pth")
    assert isinstance(model_of_file(tmp_path / "notebook.pth"), SamHQModel)


def test_a_file_that_lacks_a_weight_is_refused_with_its_name(plain: SamHQModel, tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(FAMILY.original(plain).state)
    del state["mask_decoder.embedding_maskfeature.3.bias"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(BadWeights, match=r"not a SAM-HQ's weights.*mask_decoder\.mask_conv2\.bias missing"):
        model_of_file(tmp_path / "cut.pth")


@pytest.mark.long
def test_as_wide_as_sam_hq_base_it_gives_transformers_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    few = {"num_hidden_layers": 3, "global_attn_indexes": [2]}  # of twelve alike
    model = mend_sam_hq(SamHQModel(SamHQConfig(vision_config=few)).eval())
    make_lively(model, by=0.02)
    model.save_pretrained(tmp_path / "base")
    base = load_base(str(tmp_path / "base"), cache_dir=tmp_path, device="cpu", dtype="float32")
    with torch.inference_mode():
        seen = seen_by(model)
    embedding = encode(base, IMAGE)
    assert halve(embedding).nbytes == 6 << 20
    served = Predictor(base, decoder_of(base, None), version="x")
    assert_masks_of_transformers(served, embedding, model, prompt=PROMPTS["a box and a click"], sorts=True, **seen)
