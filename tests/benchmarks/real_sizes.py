"""Every family at its published size, with random weights: neither times nor sums ask for better ones."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import (
    AutoModel,
    EdgeTamModel,
    PreTrainedModel,
    Sam2Config,
    Sam2Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamModel,
)
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel, Sam3ViTModel

from backend.sam.families.edgetam import edgetam_config
from tests.support.small_bases import set_object_scores

_SURE = 10.0  # of an object score; random ones are near zero


def _sam3_tracker() -> PreTrainedModel:
    """With the three levels that the decoder reads: transformers misplaces an embedding where there are four."""
    AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
    AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)
    return Sam3TrackerModel(Sam3TrackerConfig(vision_config={"scale_factors": [4.0, 2.0, 1.0]}))


# By the name of the base; EdgeTAM's encoder needs timm.
REAL_SIZES: dict[str, Callable[[], PreTrainedModel]] = {
    "sam-vit-base": lambda: SamModel(SamConfig()),
    "sam-hq-base": lambda: SamHQModel(SamHQConfig()),
    "sam2.1-tiny": lambda: Sam2Model(Sam2Config()),
    "edgetam": lambda: EdgeTamModel(edgetam_config()),
    "sam3-tracker": _sam3_tracker,
}


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
