"""The semantic head's graph gives the maps that pre-annotation is made of, and the card tells whose they are."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from backend.sam.decoder import cells_of
from backend.sam.export.folder import Origin, export
from backend.sam.export.onnx_card import SEMANTIC_FILE
from backend.sam.export.onnx_decoder import EMBEDDING
from backend.sam.export.onnx_semantic import SEMANTIC_OUTPUT, write_semantic
from backend.sam.loading import BaseModel, new_head


@pytest.mark.parametrize(("labels", "maps"), [(("Coin",), 1), (("Münze", None, "Pin"), 4)])
def test_onnxruntime_gives_the_maps_that_are_served(
    labels: tuple[str | None, ...], maps: int, tiny_base: BaseModel, tmp_path: Path
) -> None:
    head = new_head(tiny_base, labels=labels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in head.parameters():  # a head that is new has zeros in its readout and offsets
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    head.requires_grad_(requires_grad=False).eval()
    write_semantic(tiny_base, head, tmp_path / SEMANTIC_FILE)
    features = torch.randn(1, 32, 64, 64, generator=generator)
    session = onnxruntime.InferenceSession(tmp_path / SEMANTIC_FILE, providers=["CPUExecutionProvider"])
    (found,) = session.run([SEMANTIC_OUTPUT], {EMBEDDING: features.numpy()})
    with torch.inference_mode():
        expected = head(features, cells_of(tiny_base.image_positions, torch.float32)).numpy()
    assert found.shape == (1, maps, 256, 256)
    assert np.abs(found[0] - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_checkpoint_with_a_head_goes_out_with_it_and_its_card_names_the_labels(
    tiny_base: BaseModel, tmp_path: Path
) -> None:
    with_head = dataclasses.replace(tiny_base, semantic=new_head(tiny_base, labels=("Münze", None)))
    folder = export(Origin(with_head), how="onnx", out=tmp_path / "onnx")
    assert (folder / SEMANTIC_FILE).is_file()
    card = (folder / "README.md").read_text()
    assert "`semantic_logits` (1, 3, 256, 256)" in card
    assert 'Labels, in order: ["Münze", null] (null stands for' in card
