"""The readout tells labels apart by one linear map, solved for: checked against least squares done otherwise."""

import numpy as np
import pytest
import torch

from backend.sam.decoder import cells_of
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, new_head
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead, measure_reach
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.semantic.readout import begin_readout
from finetuner.semantic.targets import target_of

LABELS = ("a", "b", "c")
KINDS = torch.randn(3, 32, generator=torch.Generator().manual_seed(9))
FEW = 2  # images


def _scene(seed: int) -> tuple[Sample, Embedding]:
    """On 1024 px three squares of 256 px, one a label, in whose cells the encoder saw the label's vector, and noise."""
    rng = np.random.default_rng(seed)
    features = torch.randn(1, 32, 64, 64, generator=torch.Generator().manual_seed(seed)) * 0.5
    objects = []
    for number, corner in enumerate(rng.permutation(4)[:3]):
        row, column = 64 + 512 * (int(corner) // 2), 64 + 512 * (int(corner) % 2)
        mask = np.zeros((1024, 1024), bool)
        mask[row : row + 256, column : column + 256] = True
        features[0, :, row // 16 : row // 16 + 16, column // 16 : column // 16 + 16] += KINDS[number][:, None, None]
        objects.append(LabelledMask.of(mask, label=LABELS[number]))
    sample = Sample(image_sha256=str(seed), height_px=1024, width_px=1024, objects=tuple(objects))
    return sample, Embedding(features, 1024, 1024)


def _begun(base: BaseModel, *, scale: float = 1.0, labels: tuple[str, ...] = LABELS) -> SemanticHead:
    scenes = {sample.image_sha256: (sample, seen) for sample, seen in map(_scene, range(FEW))}
    samples = [sample for sample, _ in scenes.values()]
    head = new_head(base, labels=labels)
    begin_readout(
        head,
        samples,
        embedding=lambda sample: Embedding(scenes[sample.image_sha256][1].features * scale, 1024, 1024),
        target=lambda number: target_of(samples[number], labels=labels, frame=SAM_FRAME),
    )
    return head


def _kinds(head: SemanticHead, features: torch.Tensor) -> torch.Tensor:
    maps = torch.einsum("nchw,tc->nthw", measure_reach(features), head.readout.detach())[0]
    return (maps + head.offset.detach()[:, None, None])[1:]


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_it_tells_apart_what_it_has_not_seen_whatever_the_scale_of_the_features(
    tiny_base: BaseModel, scale: float
) -> None:
    head, (sample, seen) = _begun(tiny_base, scale=scale), _scene(seed=77)
    kinds = _kinds(head, seen.features * scale)
    for number, item in enumerate(sample.objects):
        inside = torch.from_numpy(item.mask[8::16, 8::16])
        assert (kinds[:, inside].argmax(0) == number).float().mean() > 0.95


def test_it_is_the_weighted_ridge_regression_of_labels_on_what_is_around_their_cells(tiny_base: BaseModel) -> None:
    rows, wanted = [], []
    for sample, seen in map(_scene, range(FEW)):
        for number, item in enumerate(sample.objects):
            around = measure_reach(seen.features)[0][:, torch.from_numpy(item.mask[8::16, 8::16])].T.numpy()
            rows.append(around)  # as many cells of every label: all weights are equal
            wanted += [np.eye(3)[number]] * len(around)
    features, truth = np.concatenate(rows).astype(np.float64), np.asarray(wanted)
    standard = (features - features.mean(0)) / features.std(0)
    # Ridge regression as plain least squares with a row for each weight (Hastie et al., exercise 3.12).
    more = np.sqrt(0.03 * len(standard)) * np.eye(32)
    weights, *_ = np.linalg.lstsq(
        np.concatenate([standard, more]), np.concatenate([truth - truth.mean(0), np.zeros((32, 3))]), rcond=None
    )
    found = _begun(tiny_base).readout.detach().numpy()
    np.testing.assert_allclose(found[1:], 8.0 * (weights.T / features.std(0)), rtol=1e-3, atol=1e-4)
    assert not found[0].any()


def test_of_one_label_nothing_is_to_be_told_apart(tiny_base: BaseModel) -> None:
    head = _begun(tiny_base, labels=("a",))
    assert not head.readout.detach().any()
    assert not head.offset.detach().any()


def test_the_readout_adds_to_the_maps_between_the_middles_of_its_cells(tiny_base: BaseModel) -> None:
    head, (_, seen) = _begun(tiny_base), _scene(seed=5)
    positions = cells_of(tiny_base.image_positions, torch.float32)
    with torch.no_grad():
        with_it = head(seen.features, positions)
        kinds = torch.einsum("nchw,tc->nthw", measure_reach(seen.features), head.readout)[0]
        head.readout.zero_()
        added = with_it - head(seen.features, positions)
    # The mean of the four cells in the middle of the sixteen that one of the embedding's became.
    middle = added.unflatten(1, (64, 4)).unflatten(3, (64, 4))[:, :, 1:3, :, 1:3].mean((2, 4))
    assert torch.allclose(middle[:, 1:-1, 1:-1], _smoothed(kinds)[:, 1:-1, 1:-1], atol=1e-3)


def _smoothed(maps: torch.Tensor) -> torch.Tensor:
    """Bilinear interpolation at an eighth of a cell from its middle, either way: 7/8 of it, and 1/8 of a neighbour."""
    row = torch.tensor([1 / 16, 7 / 8, 1 / 16])
    return torch.nn.functional.conv2d(maps[:, None], torch.outer(row, row)[None, None], padding=1)[:, 0]
