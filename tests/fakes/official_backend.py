"""The request path of label-studio-ml-backend's `segment_anything_model`, written anew to be measured beside ours.

.venv-label-studio-ml/bin/python tests/fakes/official_backend.py PORT FOLDER

It does what that example does with a click, in label-studio-ml's own server: it fetches the image through
label-studio-tools, keeps the embedding of one image, encodes and decodes in float32 with plain PyTorch, enlarges one
mask and packs it with label-studio-sdk's RLE. The weights are the ones that samloop serves. Source: that repository's
examples/segment_anything_model/{model,sam_predictor}.py (Apache-2.0), and `SamPredictor` of segment-anything.
"""

import sys
from pathlib import Path
from unittest import mock
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

from backend.sam.canvas import pixels_on_canvas
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import load_base
from backend.settings import Settings


class PlainPredictor:
    """As `SamPredictor`: one model, and the embedding of the image that was set last."""

    def __init__(self) -> None:
        base = load_base("mobile-sam", cache_dir=Settings().cache.dir, device="cpu", dtype="float32")
        self._model, self._positions = base.model, base.image_positions
        self._path: str | None = None

    def set_image(self, path: str, local_path: str) -> None:
        """Encode the image, unless it is the one that was set last."""
        if path == self._path:
            return
        image = Image.open(local_path).convert("RGB")
        self.size_px = image.height, image.width
        pixels = pixels_on_canvas(image, frame=SAM_FRAME).contiguous()
        # The paper's order of computation, which samloop cuts into strips.
        with torch.no_grad(), mock.patch("backend.sam.layers.tiny_vit.STRIP_NUMBERS", 1 << 40):
            self._features = self._model.vision_encoder(pixels)
        self._features = getattr(self._features, "last_hidden_state", self._features)
        self._path = path

    def predict(self, points_px: list[list[float]], labels: list[int]) -> tuple[np.ndarray, float]:
        """The single mask of some points: bool, height x width of the image, and the model's own score."""
        height, width = self.size_px
        scale = 1024 / max(height, width)
        points = torch.tensor([[points_px]], dtype=torch.float32) * scale
        with torch.no_grad():
            sparse, dense = self._model.prompt_encoder(
                input_points=points, input_labels=torch.tensor([[labels]]), input_boxes=None, input_masks=None
            )
            logits, scores, *_ = self._model.mask_decoder(
                image_embeddings=self._features,
                image_positional_embeddings=self._positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            large = torch.nn.functional.interpolate(
                logits[0].float(), (1024, 1024), mode="bilinear", align_corners=False
            )
            rows, columns = (round(side * scale) for side in (height, width))
            mask = torch.nn.functional.interpolate(
                large[..., :rows, :columns], (height, width), mode="bilinear", align_corners=False
            )
        return (mask[0, 0] > 0).numpy(), float(scores[0, 0, 0])


class PlainBackend(LabelStudioMLBase):
    """As that example's model: a click in, one brush region out."""

    predictor: PlainPredictor

    def predict(self, tasks: list[dict], context: dict | None = None, **_: object) -> list[dict]:
        """Answer one click."""
        if not context or not context.get("result"):
            return []
        name = next(name for name, tag in self.parsed_label_config.items() if tag["type"] == "BrushLabels")
        tag = self.parsed_label_config[name]
        path = tasks[0]["data"][tag["inputs"][0]["value"]]
        self.predictor.set_image(path, self.get_local_path(path))
        height, width = self.predictor.size_px  # the example reads it from the click; our bench does not send it
        values = [region["value"] for region in context["result"]]
        points = [[int(value["x"] * width / 100), int(value["y"] * height / 100)] for value in values]
        mask, score = self.predictor.predict(
            points, [int(region.get("is_positive", 0)) for region in context["result"]]
        )
        region = {
            "id": str(uuid4())[:4],
            "from_name": name,
            "to_name": tag["to_name"][0],
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255), "brushlabels": tag["labels"][:1]},
            "score": score,
            "type": "brushlabels",
            "readonly": False,
        }
        return [{"result": [region], "model_version": "plain", "score": score}]


if __name__ == "__main__":
    PlainBackend.predictor = PlainPredictor()
    init_app(PlainBackend, model_dir=sys.argv[2]).run(host="127.0.0.1", port=int(sys.argv[1]), threaded=True)
