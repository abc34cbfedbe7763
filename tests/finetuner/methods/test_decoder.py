"""Our way through SAM's mask decoder gives what transformers' gives, and each prompt its own mask."""

import pytest
import torch

from backend.errors import BadInput
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel
from backend.sam.prompts import prompt_tensors
from finetuner.methods import new_method
from finetuner.methods.base import Asked
from finetuner.methods.decoder import DecoderMethod

pytestmark = pytest.mark.arithmetic

PROMPTS = (
    Prompt(clicks=(Click(10.0, 10.0),)),
    Prompt(box=Box(5.0, 5.0, 30.0, 40.0)),
    Prompt(clicks=(Click(20.0, 12.0), Click(50.0, 30.0, is_foreground=False))),
    Prompt(clicks=(Click(40.0, 30.0),)),
)


@pytest.fixture
def embedding() -> Embedding:
    features = torch.randn(1, 32, 64, 64, generator=torch.Generator().manual_seed(1))
    return Embedding(features=features, height_px=48, width_px=64)


def test_the_four_masks_are_those_that_are_served(tiny_base: BaseModel, embedding: Embedding) -> None:
    method = DecoderMethod(tiny_base, precision="float32")
    logits, scores = method.decode(embedding, PROMPTS[:1])
    served, score = method.predictor(version="x").four_masks(
        embedding, prompt_tensors(PROMPTS[:1], embedding, frame=SAM_FRAME)
    )
    torch.testing.assert_close(logits, served, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores, score, atol=1e-5, rtol=1e-4)


def test_prompts_of_all_kinds_keep_their_order(tiny_base: BaseModel, embedding: Embedding) -> None:
    method = DecoderMethod(tiny_base, precision="float32")
    previous = torch.randn(4, 256, 256, generator=torch.Generator().manual_seed(2))
    for seen in (None, previous):
        together, scores = method.decode(embedding, PROMPTS, previous=seen)
        assert together.shape == (4, 4, 256, 256)
        assert scores.shape == (4, 4)
        for index, prompt in enumerate(PROMPTS):
            alone, _ = method.decode(embedding, [prompt], previous=None if seen is None else seen[index : index + 1])
            torch.testing.assert_close(together[index], alone[0], atol=1e-5, rtol=1e-4)


def test_prompts_together_have_the_gradients_that_they_have_one_by_one(
    tiny_base: BaseModel, embedding: Embedding
) -> None:
    """Tokens that fill up a shorter prompt teach nothing, nor does the order in which gradients are summed."""
    generator = torch.Generator().manual_seed(3)
    other = Embedding(torch.randn(1, 32, 64, 64, generator=generator), height_px=60, width_px=40)
    previous = torch.randn(2, 256, 256, generator=generator)
    asked = [Asked(embedding, PROMPTS), Asked(other, PROMPTS[1:3], previous)]
    method = DecoderMethod(tiny_base, precision="float32")
    decoded = method.decode_several(asked)
    logits, scores = decoded.logits, decoded.ious
    (logits.square().mean((1, 2, 3)).sum() + scores.square().sum()).backward()
    together = {name: weight.grad.clone() for name, weight in method.trainable().items() if weight.grad is not None}
    for weight in method.trainable().values():
        weight.grad = None
    for pass_ in asked:
        for index, prompt in enumerate(pass_.prompts):
            shown = None if pass_.previous is None else pass_.previous[index : index + 1]
            one, score = method.decode(pass_.embedding, [prompt], previous=shown)
            (one.square().mean() + score.square().sum()).backward()
    alone = {name: weight.grad for name, weight in method.trainable().items() if weight.grad is not None}
    assert together.keys() == alone.keys()
    for name, gradient in alone.items():
        most = float(gradient.abs().max())
        torch.testing.assert_close(together[name], gradient, rtol=1e-3, atol=1e-4 * most + 1e-7)


def test_bfloat16_gives_nearly_the_gradients_of_float32(tiny_base: BaseModel, embedding: Embedding) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        method = DecoderMethod(tiny_base, precision=precision)
        method.decode(embedding, PROMPTS)[0].sigmoid().mean().backward()
        assert all(
            weight.grad.dtype == torch.float32 for weight in method.trainable().values() if weight.grad is not None
        )
        found.append(torch.cat([w.grad.flatten() for w in method.trainable().values() if w.grad is not None]))
    exact, half = found
    assert torch.nn.functional.cosine_similarity(exact, half, dim=0) > 0.98
    assert not torch.equal(exact, half)


def test_only_the_mask_decoder_moves(tiny_base: BaseModel, embedding: Embedding) -> None:
    method = DecoderMethod(tiny_base)
    method.decode(embedding, PROMPTS)[0].square().mean().backward()
    assert set(method.trainable()) == {name for name, _ in tiny_base.model.mask_decoder.named_parameters()}
    assert all(weight.grad is None for weight in tiny_base.model.parameters())
    assert all(weight.requires_grad for weight in method.trainable().values())


def test_bfloat16_sees_weights_that_have_moved(tiny_base: BaseModel, embedding: Embedding) -> None:
    """Weights are cast for every pass: cast once for a whole training, the first ones would be used."""
    method = DecoderMethod(tiny_base, precision="bfloat16")
    with torch.no_grad():
        before, _ = method.decode(embedding, PROMPTS)
        for weight in method.trainable().values():
            weight.mul_(1.5)
        after, _ = method.decode(embedding, PROMPTS)
    assert before.dtype == torch.float32
    assert not torch.allclose(before, after)


def test_an_unknown_method_is_named(tiny_base: BaseModel) -> None:
    with pytest.raises(BadInput, match="method 'magic' is none of conv-lora, decoder, lora"):
        new_method("magic", tiny_base)
