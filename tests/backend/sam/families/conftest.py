"""A base of every family, from the folder that the family's own model wrote, and a toy family that is one file."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from backend.sam import families
from backend.sam.embeddings.embedding import Embedding
from backend.sam.families.mobile import MobileSamModel
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from tests.support.plain_masks import IMAGE
from tests.support.small_base import small_sam_config
from tests.support.small_bases import SMALL_BASES, make_lively, write_small_base

# All that a new family takes: another canvas, other colours, stretched images, and a second map for the decoder.
TOY = """
from dataclasses import replace

import torch
from torch.nn import functional
from transformers import SamConfig, SamModel

from backend.sam.families.pretrained import read_pretrained
from backend.sam.families.vit import SamFamily
from backend.sam.family import OriginalReader
from backend.sam.frame import SAM_FRAME


class ToyModel(SamModel):
    pass


class ToyFamily(SamFamily):
    name = "toy"
    title = "Toy"
    architectures = ("ToyModel",)
    formats = ("hf",)
    frame = replace(
        SAM_FRAME, preprocessing="toy/1", canvas_px=512, grid=128, mean=(9.0, 99.0, 199.0), keeps_aspect=False
    )

    def load(self, folder):
        return self._of_this_canvas(read_pretrained(ToyModel, folder), folder)

    def encode(self, encoder, pixels):
        (coarse,) = super().encode(encoder, pixels)
        return coarse, functional.interpolate(coarse[:, :4], scale_factor=4.0)

    def decode(self, decoder, inputs):
        decoded = super().decode(decoder, inputs)
        skipped = inputs.maps[1].float().mean(1, keepdim=True)
        skipped = skipped if inputs.image_of is None else skipped[inputs.image_of]
        return replace(decoded, logits=decoded.logits + skipped)


def read_toy(state):
    small = {"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32, "iou_head_hidden_dim": 32}
    encoder = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": len(state)}
    return ToyModel(SamConfig(vision_config=encoder, mask_decoder_config=small))


FAMILY = ToyFamily()
READERS = (OriginalReader(marks=("image_encoder.blocks.", "toy."), read=read_toy),)
"""


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy family as a file that lies with the others; gone again after the module."""
    folder = tmp_path_factory.mktemp("families")
    (folder / "toy.py").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "__path__", [*families.__path__, str(folder)])
        yield folder / "toy.py"
    sys.modules.pop("backend.sam.families.toy", None)
    vars(families).pop("toy", None)


@pytest.fixture(scope="module")
def toy_folder(toy_file: Path) -> Path:
    """A `save_pretrained` folder of a random toy model."""
    from backend.sam.families.toy import ToyModel

    torch.manual_seed(0)
    model = ToyModel(small_sam_config(canvas_px=512, global_blocks=[1])).eval()
    make_lively(model, by=0.3)
    model.save_pretrained(toy_file.parent / "weights")
    return toy_file.parent / "weights"


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The `save_pretrained` folder of a family's small random base, written when it is first asked for."""
    return cache(lambda family: write_small_base(family, tmp_path_factory.mktemp(family)))


# By the names of their families, the fixtures that write their folders; all others are small bases.
_FOLDERS = {"sam": "lively_dir", "toy": "toy_folder"}


@pytest.fixture(scope="module", params=[*_FOLDERS, *SMALL_BASES, "mobile-sam"])
def base_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `save_pretrained` folder of every family."""
    if request.param in _FOLDERS:
        folder: Path = request.getfixturevalue(_FOLDERS[request.param])
        return folder
    if request.param in SMALL_BASES:
        small: Path = request.getfixturevalue("small_folder")(request.param)
        return small
    model: MobileSamModel = request.getfixturevalue("random_mobile_sam")
    mobile = tmp_path_factory.mktemp("mobile")
    model.save_pretrained(mobile)
    return mobile


@pytest.fixture(scope="module")
def base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A base of every family, float32 on the CPU."""
    return load_base(str(base_folder), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def embedding(base: BaseModel) -> Embedding:
    """The base's embedding of the image that transformers' masks are compared on."""
    return encode(base, IMAGE)


@pytest.fixture(scope="module")
def predictor(base: BaseModel) -> Predictor:
    """The base with its own decoder, as it is served."""
    return Predictor(base, decoder_of(base, None), version="x")
