"""The proof of the conversion: onnxruntime runs the package's own files, and ours give the same numbers."""

import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.errors import BadWeights
from backend.sam.canvas import pixels_on_canvas
from backend.sam.families import minisam
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel
from backend.sam.predictor import encode

EMBEDDING_DIFFERENCE = 1e-5
LOGITS_DIFFERENCE = 1e-4
Record = Callable[[str, object], None]
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def onnx_dir(minisam_tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    with tarfile.open(minisam_tarball) as tarball:
        for name in ("encoder.onnx", "sam.onnx"):
            member = tarball.extractfile(f"package/dist/{name}")
            assert member is not None
            (folder / name).write_bytes(member.read())
    return folder


@pytest.fixture(scope="module")
def reference(onnx_dir: Path, astronaut: Image.Image) -> np.ndarray:
    """The embedding of a photograph by the package's own encoder."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_dir / "encoder.onnx")
    return session.run(None, {"input": pixels_on_canvas(astronaut, frame=SAM_FRAME).numpy()})[0]


def test_the_embedding_of_a_photograph_is_that_of_the_packages_encoder(
    mobile_base: BaseModel, reference: np.ndarray, astronaut: Image.Image, record_property: Record
) -> None:
    difference = float(np.abs(encode(mobile_base, astronaut).features.numpy() - reference).max())

    record_property("embedding_max_abs_difference", difference)
    sys.stdout.write(f"embedding: differs by {difference:.2e} at most, largest value {np.abs(reference).max():.2f}\n")
    assert difference <= EMBEDDING_DIFFERENCE


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        # The export takes the single mask for more than two tokens, else the one of three with the best score.
        ([[440, 240], [500, 420], [40, 900], [0, 0]], [1, 1, 0, -1]),
        ([[440, 240], [0, 0]], [1, -1]),
        ([[300, 90], [600, 1000]], [2, 3]),
    ],
    ids=["three clicks", "one click", "a box"],
)
def test_the_logits_are_those_of_the_packages_decoder(  # noqa: PLR0917 - fixtures
    mobile_base: BaseModel,
    onnx_dir: Path,
    reference: np.ndarray,
    points: list[list[float]],
    labels: list[int],
    record_property: Record,
) -> None:
    import onnxruntime

    inputs = {
        "image_embeddings": reference,
        "point_coords": np.array([points], np.float32),
        "point_labels": np.array([labels], np.float32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.array([512, 512], np.float32),
    }
    _, score, expected = onnxruntime.InferenceSession(onnx_dir / "sam.onnx").run(None, inputs)

    single = len(points) > 2
    is_box = labels == [2, 3]
    clicks = [(point, label) for point, label in zip(points, labels, strict=True) if label in {0, 1}]
    with torch.no_grad():
        ours = mobile_base.model(
            image_embeddings=torch.from_numpy(reference),
            input_points=None if is_box else torch.tensor([[[point for point, _ in clicks]]], dtype=torch.float32),
            input_labels=None if is_box else torch.tensor([[[label for _, label in clicks]]]),
            input_boxes=torch.tensor([[[*points[0], *points[1]]]], dtype=torch.float32) if is_box else None,
            multimask_output=not single,
        )
    best = int(ours.iou_scores[0, 0].argmax())
    difference = float(np.abs(ours.pred_masks[0, 0, best].numpy() - expected[0, 0]).max())

    record_property("logits_max_abs_difference", difference)
    sys.stdout.write(f"logits: differ by {difference:.2e} at most, largest value {np.abs(expected).max():.1f}\n")
    assert difference <= LOGITS_DIFFERENCE
    assert float(ours.iou_scores[0, 0, best]) == pytest.approx(float(score[0, 0]), abs=1e-5)


def test_a_bias_that_depends_on_more_than_the_offset_is_noticed() -> None:
    with pytest.raises(BadWeights, match="do not depend on the offset alone"):
        minisam._bias_table(np.arange(2 * 16.0).reshape(2, 4, 4), "/layers.1/blocks.0/attn/Add")
