"""Segment Anything's own family."""

import pytest
import torch
from transformers import SamConfig, SamModel

from backend.sam.families.vit import FAMILY


@pytest.mark.parametrize(
    ("width", "name", "file"),
    [(768, "vit_b", "sam_vit_b.pth"), (1024, "vit_l", "sam_vit_l.pth"), (96, None, "sam_vit.pth")],
)
def test_the_original_code_knows_a_model_by_its_width(width: int, name: str | None, file: str) -> None:
    sizes = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 8}
    with torch.device("meta"):
        model = SamModel(SamConfig(vision_config=sizes))
    empty = {weight: torch.empty(()) for weight in model.state_dict()}
    model.state_dict = lambda: empty  # type: ignore[method-assign]
    original = FAMILY.original(model)
    assert (f'sam_model_registry["{name}"]' in original.usage, original.file) == (name is not None, file)


def test_the_mean_and_deviation_are_imagenets_as_segment_anything_has_them() -> None:
    assert FAMILY.frame.mean == pytest.approx([255 * share for share in (0.485, 0.456, 0.406)])
    assert FAMILY.frame.std == pytest.approx([255 * share for share in (0.229, 0.224, 0.225)])
