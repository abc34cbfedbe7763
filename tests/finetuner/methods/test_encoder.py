"""Adapters in the encoder: they begin as nothing, learn, and what is served is what was trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from PIL import Image

from backend.errors import BadInput
from backend.masks.prompt import Click, Prompt
from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.served import LORA, share_tensors
from backend.sam.embeddings.embedding import Embedding
from backend.sam.families import mobile, vit
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, load_base, with_adapter
from backend.sam.predictor import encode
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.methods import list_methods, new_method
from finetuner.methods.base import ENCODER, Method
from finetuner.methods.encoder import recomputes
from finetuner.training.loop import Trainer

pytestmark = pytest.mark.arithmetic

ENCODERS = ("lora", "conv-lora")
CONFIG = TrainConfig(
    epochs=2, decodes=None, precision="float32", learning_rate=3e-3, adapter_joins=0.0, corrective_share=1.0
)
PROMPT = Prompt(clicks=(Click(x_px=18.0, y_px=24.0),))


class Images:
    """Stands where finetuner.data.embeddings.Embeddings does, for one image."""

    def __init__(self, base: BaseModel, image: Image.Image) -> None:
        self.base, self.image, self.kept = base, image, 0

    def __call__(self, _: Sample) -> Embedding:
        self.kept += 1
        return encode(self.base, self.image)

    def picture(self, _: Sample) -> Image.Image:
        return self.image.resize((1024, 768), Image.Resampling.BILINEAR)


@pytest.fixture(scope="module")
def tiny_base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny SAM with larger weights: as it is born, it sees next to nothing in an image."""
    base = load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", dtype="float32")
    return _lively(base)


def _lively(base: BaseModel) -> BaseModel:
    generator = torch.Generator().manual_seed(0)
    for weight in base.model.parameters():
        weight.add_((0.3 * torch.randn(weight.shape, generator=generator)).to(weight.dtype))
    return base


@pytest.fixture
def images(tiny_base: BaseModel, discs: Callable[..., tuple[Image.Image, list[np.ndarray]]]) -> Images:
    return Images(tiny_base, discs(0)[0])


def trained(name: str, base: BaseModel, sample: Sample, images: Images, config: TrainConfig = CONFIG) -> Method:
    method = new_method(name, base, config=config)
    trainer = Trainer(
        method, [sample], config=config, embedding=lambda one: method.embed(one, embeddings=images, learns=True)
    )
    assert list(trainer.steps())
    return method


@pytest.mark.parametrize("name", ENCODERS)
def test_it_starts_as_the_base(name: str, tiny_base: BaseModel, sample: Sample, images: Images) -> None:
    method = new_method(name, tiny_base, config=CONFIG)
    method.begin_step(1, done=0.5)
    seen = method.embed(sample, embeddings=images, learns=True)
    assert seen.features.requires_grad
    torch.testing.assert_close(seen.features.detach(), encode(tiny_base, images.image).features, rtol=1e-4, atol=1e-5)
    served = method.predictor(version="x").base
    torch.testing.assert_close(
        encode(served, images.image).features, encode(tiny_base, images.image).features, rtol=0, atol=0
    )
    assert served.encoder_fingerprint != tiny_base.encoder_fingerprint


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_served_is_what_was_trained_and_the_base_is_as_it_was(
    name: str, tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    before = {key: value.clone() for key, value in tiny_base.model.state_dict().items()}
    method = trained(name, tiny_base, sample, images)
    looked = method.embed(sample, embeddings=images, learns=False).features
    predictor = method.predictor(version="x")
    served = encode(predictor.base, images.image)
    plain = encode(tiny_base, images.image)
    assert (served.features - plain.features).abs().max() > 1e-3  # it has learnt something
    torch.testing.assert_close(served.features, looked, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        logits, _ = method.decode(Embedding(looked, sample.height_px, sample.width_px), [PROMPT])
    (mask,) = predictor.decode(served, [PROMPT])
    (again,) = predictor.decode(Embedding(looked, sample.height_px, sample.width_px), [PROMPT])
    assert np.array_equal(mask.mask, again.mask)
    assert torch.isfinite(logits).all()
    assert all(torch.equal(value, before[key]) for key, value in tiny_base.model.state_dict().items())


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_weights_are_shared_and_a_checkpoint_holds_the_trained_alone(
    name: str, tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    method = trained(name, tiny_base, sample, images, TrainConfig(epochs=1, decodes=None, adapter_joins=0.0))
    base = {weight.data_ptr() for weight in tiny_base.model.vision_encoder.parameters()}
    served = dict(method.predictor(version="x").base.model.vision_encoder.named_parameters())
    own = {key for key, weight in served.items() if weight.data_ptr() not in base}
    assert own
    assert all(".qkv." in key for key in own)
    assert set(safetensors.torch.load(method.weights())) == {
        key if key.startswith(ENCODER) else f"mask_decoder.{key}" for key in method.trainable()
    } | {f"mask_decoder.{key}" for key in tiny_base.model.mask_decoder.state_dict()}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_same_seed_gives_the_same_weights_with_and_without_recomputing(
    name: str, tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    first, again = (trained(name, tiny_base, sample, images).weights() for _ in range(2))
    other = trained(name, tiny_base, sample, images, TrainConfig(**{**_values(CONFIG), "seed": 1})).weights()
    kept = trained(name, tiny_base, sample, images, TrainConfig(**{**_values(CONFIG), "recompute": False})).weights()
    assert first == again != other
    ours, theirs = safetensors.torch.load(first), safetensors.torch.load(kept)
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in ours)


def _values(config: TrainConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}


def test_the_gradients_of_all_rounds_go_back_at_once_and_are_those_of_the_whole(
    tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    """What two rounds leave on the features, taken back once, is what autograd makes of the joined graph."""
    method = new_method("lora", tiny_base, config=CONFIG)
    for weight in method.trainable().values():
        weight.data += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    method.begin_step(1, done=0.5)
    seen = method.embed(sample, embeddings=images, learns=True)
    for _ in range(2):
        method.decode(seen, [PROMPT])[0].square().mean().backward()
    method.carry_back()
    carried = {name: weight.grad.clone() for name, weight in method.trainable().items() if weight.grad is not None}
    for weight in method.trainable().values():
        weight.grad = None
    (features,) = method._encode(_pixels(images))  # type: ignore[attr-defined]
    whole = Embedding(features, sample.height_px, sample.width_px)
    (2 * method.decode(whole, [PROMPT])[0].square().mean()).backward()
    for name, weight in method.trainable().items():
        if name.startswith(ENCODER):
            assert weight.grad is not None
            assert weight.grad.abs().max() > 0, name
            torch.testing.assert_close(carried[name], weight.grad, rtol=1e-3, atol=1e-7)


def _pixels(images: Images) -> torch.Tensor:
    from backend.sam.canvas import pixels_on_canvas

    return pixels_on_canvas(images.image, frame=SAM_FRAME)


def test_at_first_the_decoder_learns_alone_on_what_is_kept(
    tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    config = TrainConfig(**{**_values(CONFIG), "epochs": 4, "adapter_joins": 0.5, "corrective_share": 0.0})
    method = trained("lora", tiny_base, sample, images, config)
    assert images.kept == 2  # of four steps
    assert not method._attached.is_zero()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["gate", "noise"])
def test_the_loss_on_masks_reaches_the_router_through_the_encoder(
    kind: str, tiny_base: BaseModel, sample: Sample, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = trained("conv-lora", tiny_base, sample, images)
    monkeypatch.setattr(method._attached, "balance", lambda: torch.zeros(()))  # type: ignore[attr-defined]
    for weight in method.trainable().values():
        weight.grad = None
    method.begin_step(9, done=0.5)
    seen = method.embed(sample, embeddings=images, learns=True)
    method.decode(seen, [PROMPT])[0].square().mean().backward()
    method.carry_back()
    found = [w.grad for name, w in method.trainable().items() if name.endswith(f"router.{kind}") and w.grad is not None]
    assert found
    assert max(float(gradient.abs().max()) for gradient in found) > 0


def test_pefts_own_merge_is_ours(tiny_base: BaseModel, images: Images) -> None:
    """The encoder that serves LoRA against peft's merge of the same weights: another's sum."""
    generator = torch.Generator().manual_seed(3)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["qkv"])
    theirs = peft.inject_adapter_in_model(config, share_tensors(tiny_base.model.vision_encoder))
    state = {}
    for name, weight in theirs.named_parameters():
        if ".lora_" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
            state[name.replace(".default.", ".")] = weight.detach().clone()
    ours = with_adapter(tiny_base, Adapter(LORA, 4, 8.0, state))
    for module in list(theirs.modules()):
        if isinstance(module, peft.tuners.lora.Linear):
            module.base_layer.weight = torch.nn.Parameter(module.base_layer.weight.clone())  # it is the base's
            module.merge(safe_merge=True)
    with torch.no_grad():
        expected = theirs(_pixels(images)).last_hidden_state
    torch.testing.assert_close(encode(ours, images.image).features, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, encode(tiny_base, images.image).features, atol=1e-2)


def test_a_base_that_has_an_adapter_already_is_told_to_be_one(
    tiny_base: BaseModel, sample: Sample, images: Images
) -> None:
    served = trained("conv-lora", tiny_base, sample, images, TrainConfig(epochs=1, decodes=None)).predictor(version="x")
    with pytest.raises(BadInput, match="no plain qkv layer in its encoder that lora could adapt"):
        new_method("lora", served.base)


@pytest.mark.parametrize("name", ENCODERS)
def test_in_bfloat16_the_adapter_still_learns_in_float32(
    name: str, tiny_sam_dir: Path, sample: Sample, tmp_path: Path, images: Images
) -> None:
    base = _lively(load_base(str(tiny_sam_dir), cache_dir=tmp_path, device="cpu", dtype="bfloat16"))
    method = trained(name, base, sample, Images(base, images.image))
    assert {weight.dtype for weight in method.trainable().values()} == {torch.float32}
    looked = method.embed(sample, embeddings=images, learns=False).features
    served = encode(method.predictor(version="x").base, images.image).features
    assert torch.nn.functional.cosine_similarity(looked.flatten(), served.flatten(), dim=0) > 0.99


def test_a_vit_is_run_again_on_the_way_back_and_a_tiny_one_is_not() -> None:
    assert [recomputes(family, config=TrainConfig()) for family in (vit.FAMILY, mobile.FAMILY)] == [True, False]
    assert recomputes(mobile.FAMILY, config=TrainConfig(recompute=True))


def test_what_scales_its_update_more_moves_more_slowly() -> None:
    lora, conv_lora = (list_methods()[name] for name in ENCODERS)
    assert lora.pace_of(TrainConfig()) > conv_lora.pace_of(TrainConfig()) > 1
    assert lora.pace_of(TrainConfig(encoder_pace=7.0)) == 7
