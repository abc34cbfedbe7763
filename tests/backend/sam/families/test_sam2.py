"""SAM 2: the maps, the masks and the choice among them are those of transformers' own forward pass."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Sam2Config, Sam2Model

from backend.errors import BadWeights
from backend.masks.prompt import Box, Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings, halve
from backend.sam.families.sam2 import FAMILY, with_stable_single
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from finetuner.methods import new_method
from finetuner.methods.base import Method
from tests.support.plain_masks import IMAGE, PROMPTS, answers, assert_masks_of_transformers
from tests.support.small_bases import make_lively


@pytest.fixture(scope="module")
def sam2_folder(small_folder: Callable[[str], Path]) -> Path:
    """A `save_pretrained` folder of a random SAM 2.1."""
    return small_folder("sam2")


@pytest.fixture(scope="module")
def base_folder(sam2_folder: Path) -> Path:
    return sam2_folder


@pytest.fixture(scope="module")
def plain(sam2_folder: Path) -> Sam2Model:
    return Sam2Model.from_pretrained(sam2_folder).eval()


@pytest.fixture(scope="module")
def maps(plain: Sam2Model) -> list[Tensor]:
    """Transformers' own, the finest first."""
    return list(plain.get_image_embeddings(pixels_on_canvas(IMAGE, frame=FAMILY.frame)))


def assert_equal_masks(
    served: Predictor,
    embedding: Embedding,
    plain: Sam2Model,
    maps: list[Tensor],
    *,
    prompts: Iterable[Prompt] = PROMPTS.values(),
) -> None:
    for prompt in prompts:
        assert_masks_of_transformers(served, embedding, plain, prompt=prompt, image_embeddings=maps)


def test_an_image_is_stretched_to_the_canvas_as_metas_transforms_do() -> None:
    values = torch.from_numpy(np.array(IMAGE)).permute(2, 0, 1)[None] / 255
    wide = functional.interpolate(values, (1024, 1024), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    theirs = (wide - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    # Pillow rounds to whole colours, down and then across.
    torch.testing.assert_close(pixels_on_canvas(IMAGE, frame=FAMILY.frame), theirs, atol=0.02, rtol=0)


def test_an_embedding_is_a_pyramid_of_transformers_maps(embedding: Embedding, maps: list[Tensor]) -> None:
    assert [tuple(values.shape) for values in embedding.maps] == [(1, 32, 64, 64), (1, 8, 128, 128), (1, 4, 256, 256)]
    for ours, theirs in zip(embedding.maps, reversed(maps), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_memory_counts_every_map_of_the_pyramid(embedding: Embedding) -> None:
    tier = MemoryEmbeddings(max_bytes=1 << 30)
    tier.put(EmbeddingKey("image", "encoder", "frame"), halve(embedding))
    assert tier.bytes == 2 * (32 * 64**2 + 8 * 128**2 + 4 * 256**2)


def test_every_kind_of_prompt_gets_transformers_masks(
    predictor: Predictor, embedding: Embedding, plain: Sam2Model, maps: list[Tensor]
) -> None:
    assert_equal_masks(predictor, embedding, plain, maps)


def test_several_objects_get_the_masks_that_transformers_gives_them_together(
    predictor: Predictor, embedding: Embedding, plain: Sam2Model, maps: list[Tensor]
) -> None:
    boxes = [Prompt(box=Box(5.0 * n, 4.0, 30.0 + 6 * n, 50.0)) for n in range(3)]
    inputs = prompt_tensors(boxes, embedding, frame=FAMILY.frame)
    single, _ = answers(plain, inputs, multimask=False, image_embeddings=maps)
    ours = predictor.decode(embedding, boxes)
    for number, predicted in enumerate(ours):
        np.testing.assert_allclose(predicted.low_res_logits, single[number, 0].numpy(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("is_stable", [True, False])
def test_an_unstable_single_mask_gives_way_to_the_best_of_the_others_as_in_transformers(
    base: BaseModel, *, is_stable: bool
) -> None:
    decoder: Any = decoder_of(base, None)
    logits = torch.linspace(-1, 1, 4 * 16).reshape(1, 4, 4, 4)
    logits[:, 0] = 1.0 if is_stable else torch.linspace(-0.04, 0.06, 16).view(4, 4)
    ious = torch.tensor([[0.1, 0.2, 0.9, 0.3]])
    theirs = decoder._dynamic_multimask_via_stability(logits[None], ious[None])
    ours = with_stable_single(decoder, logits, ious)
    assert torch.equal(ours[0][:, :1], theirs[0][0])
    assert torch.equal(ours[1][:, :1], theirs[1][0])
    assert torch.equal(ours[0][:, :1], logits[:, :1]) == is_stable
    assert torch.equal(with_stable_single(decoder.train(), logits, ious)[0], logits)


def test_a_decoder_that_narrows_differently_has_embeddings_of_its_own(
    base: BaseModel, sam2_folder: Path, tmp_path: Path
) -> None:
    other = Sam2Model.from_pretrained(sam2_folder)
    with torch.no_grad():
        other.mask_decoder.conv_s0.bias.add_(1)
    other.save_pretrained(tmp_path / "other")
    changed = load_base(str(tmp_path / "other"), cache_dir=tmp_path, device="cpu", dtype="float32")
    assert changed.encoder_fingerprint != base.encoder_fingerprint


def test_a_folder_marked_as_the_model_for_videos_loads(base: BaseModel, sam2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder, tmp_path / "video")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"architectures": ["Sam2VideoModel"], "model_type": "sam2_video"})
    )
    video = load_base(str(folder), cache_dir=tmp_path, device="cpu", dtype="float32")
    assert (video.family.name, video.fingerprint) == ("sam2", base.fingerprint)


def test_a_model_for_another_canvas_is_refused(sam2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    config["prompt_encoder_config"]["image_size"] = 512
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadWeights, match="for 512 px; only 1024 px are supported"):
        load_base(str(folder), cache_dir=tmp_path, device="cpu", dtype="float32")


@pytest.mark.parametrize("name", ["decoder", "lora", "conv-lora"])
def test_a_step_of_training_moves_the_masks_and_leaves_what_embeddings_depend_on(
    base: BaseModel, embedding: Embedding, name: str
) -> None:
    method: Method = new_method(name, base)
    before = {key: weight.detach().clone() for key, weight in method.trainable().items()}
    logits, ious = method.decode(embedding, list(PROMPTS.values())[:3])
    (logits.square().mean() + ious.mean()).backward()
    moved = {key for key, weight in method.trainable().items() if weight.grad is not None}
    assert {"mask_tokens.weight", "transformer.layers.0.self_attn.o_proj.weight", "upscale_conv2.weight"} <= moved
    assert not any(key.startswith(("conv_s0", "conv_s1")) for key in moved)
    torch.optim.SGD(method.trainable().values(), lr=1e-3).step()
    assert any(not torch.equal(before[key], weight) for key, weight in method.trainable().items())


@pytest.mark.long
def test_at_its_real_size_sam_2_1_tiny_gives_transformers_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Sam2Model(Sam2Config()).eval()
    make_lively(model, by=0.05)
    model.save_pretrained(tmp_path / "tiny")
    base = load_base(str(tmp_path / "tiny"), cache_dir=tmp_path, device="cpu", dtype="float32")
    with torch.inference_mode():
        maps = list(model.get_image_embeddings(pixels_on_canvas(IMAGE, frame=FAMILY.frame)))
    embedding = encode(base, IMAGE)
    assert halve(embedding).nbytes == 8 << 20
    served = Predictor(base, decoder_of(base, None), version="x")
    assert_equal_masks(served, embedding, model, maps, prompts=[PROMPTS["a box and a click"]])
