"""Every published base at its own size, with random weights: neither times nor sums ask for better ones."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import PreTrainedModel, SamConfig, SamModel

from backend.sam.families.mobile import MobileSamModel, mobile_sam_config
from backend.sam.weights import PUBLISHED
from tests.support.small_base import VITS
from tests.support.small_bases import SMALL_BASES, set_object_scores

_SURE = 10.0  # of an object score; random ones are near zero


# By the name of the base. MobileSAM's encoder is samloop's own, since transformers has none.
_MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "mobile-sam": lambda: MobileSamModel(mobile_sam_config()),
    "sam-vit-base": lambda: SamModel(SamConfig(vision_config=dict(VITS["base"]))),
    "sam-vit-large": lambda: SamModel(SamConfig(vision_config=dict(VITS["large"]))),
    "sam-vit-huge": lambda: SamModel(SamConfig(vision_config=dict(VITS["huge"]))),
    **{name: make for base in SMALL_BASES.values() for name, make in base.published.items()},
}
REAL_SIZES = {name: _MODELS[name] for name in PUBLISHED}


def build(name: str) -> Any:
    """The base, in evaluation mode; a decoder with object scores sees an object at every prompt."""
    torch.manual_seed(0)
    model = REAL_SIZES[name]().eval()
    set_object_scores(model, shift=_SURE)
    return model


def list_rows(measure: Callable[[str, Path], object]) -> list[str]:
    """Measure the bases that `--only` names (all of them without it), each base in a folder of its own.

    Rows are shown as they come. A base whose packages are missing is left out, which is said.
    """
    names = sys.argv[sys.argv.index("--only") + 1].split(",") if "--only" in sys.argv else list(REAL_SIZES)
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(str(measure(name, Path(folder) / name)))
            except ImportError as fault:
                sys.stderr.write(f"{name} is left out: {fault}\n")
            else:
                sys.stderr.write(f"{rows[-1]}\n")
    return rows


def look_plainly(model: Any, pixels: torch.Tensor) -> dict[str, Any]:
    """What transformers' encoder gives its decoder, by the names of `forward`."""
    with torch.no_grad():
        seen = model.get_image_embeddings(pixels)
    if isinstance(seen, tuple):  # SAM-HQ's
        return {"image_embeddings": seen[0], "intermediate_embeddings": seen[1]}
    return {"image_embeddings": seen}
