"""SAM 3's tracker on images: SAM 2's decoder behind a ViT with rotary positions.

Carion et al., "SAM 3: Segment Anything with Concepts" (2025), appendix A. The tracker takes clicks, boxes and masks. We
leave out the detector, which takes phrases, and the memory for videos.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, Sam3TrackerModel
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel, Sam3ViTModel

from backend.sam.adapters.places import Place
from backend.sam.families.sam2 import Finish, Sam2Family
from backend.sam.families.sam3_names import original_of_sam3
from backend.sam.family import Family, Maps, Model, OriginalCode
from backend.sam.frame import Frame

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_FILE = "sam3_tracker.pt"
_USAGE = f"""\
The encoder and the tracker under the original names. The detector and the memory for videos are not in it: Meta's own
checkpoint brings them, and what training changed in the encoder changes what that detector sees.

```python
import torch
from sam3.model_builder import build_sam3_video_model

model = build_sam3_video_model(checkpoint_path="sam3.pt", device="cpu")  # Meta's
state = torch.load("{_FILE}", weights_only=True)["model"]
missing, unknown = model.load_state_dict(state, strict=False)
assert not unknown
```"""
_LEVELS = 3  # the decoder reads three levels; the neck has a fourth, coarser level for the detector


class Sam3TrackerFamily(Sam2Family):
    """See `family.Family`."""

    name = "sam3-tracker"
    title = "SAM 3's tracker (ViT)"
    licence = "Meta's SAM License"
    # Meta publishes one folder with the detector and the tracker for videos. transformers takes this model out of it.
    architectures: tuple[str, ...] = ("Sam3TrackerModel", "Sam3VideoModel")
    kind: type[PreTrainedModel] = Sam3TrackerModel
    formats: tuple[str, ...] = ("hf", "sam", "onnx")
    frame: Frame = Frame(
        preprocessing="stretched-1008-pil-bilinear/half-mean-std/1",
        canvas_px=1008,
        grid=288,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        keeps_aspect=False,
    )

    def load(self, folder: Path) -> Model:
        """As `Family.load`."""
        # By name, transformers gives these classes only to those who have torchvision, which only the detector uses.
        AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
        AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)
        return super().load(folder)

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """As `Family.place`: the encoder computes in `dtype`, except for the positions that its rotations come from."""
        exact = {name: values.clone() for name, values in model.vision_encoder.named_buffers()}
        super().place(model, device=device, dtype=dtype)
        for name, values in exact.items():
            owner, _, attribute = name.rpartition(".")
            setattr(
                model.vision_encoder.get_submodule(owner), attribute, nn.Buffer(values.to(device), persistent=False)
            )

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """As `Family.encode`: maps of 72, 144 and 288 cells a side."""
        (finish,) = cast("tuple[Finish]", encoder.finish)
        levels = cast("Any", encoder(pixels)).fpn_hidden_states
        return cast("Maps", finish(levels[:_LEVELS]))

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """As `Family.places`: queries, keys and values have layers of their own, and padding is zeros."""
        return {
            name: Place(module)
            for name, module in encoder.named_modules()
            if name.split(".")[-1] in _PROJECTIONS and isinstance(module, nn.Linear)
        }

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for Meta's sam3: the encoder and the tracker, without detector and memory.

        Raises:
            BadInput: the encoder has Conv-LoRA's layers, for which there is no name there.
        """
        return OriginalCode(file=_FILE, state=original_of_sam3(model), usage=_USAGE, wrapper="model")


FAMILY: Family = Sam3TrackerFamily()
