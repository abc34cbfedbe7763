"""Renames the weights of SAM 3's tracker from Meta's sam3, whose file also holds the detector and the video memory."""

from collections.abc import Iterator, Mapping

from torch import Tensor
from transformers import Sam3TrackerConfig, Sam3TrackerModel

from backend.sam.families.pretrained import fill
from backend.sam.families.sam2_names import DECODER_TO_OURS, compile_renames, complete, rename

TRUNK, NECK, TRACKER = (
    "detector.backbone.vision_backbone.trunk.",
    "detector.backbone.vision_backbone.sam2_convs.",
    "tracker.",
)
_IMAGE = ("no_mem_embed", "sam_prompt_encoder.", "sam_mask_decoder.")  # of the tracker; the rest belongs to the memory
_ENCODER = compile_renames(
    (
        ("^pos_embed", "^embeddings.position_embeddings"),
        ("^patch_embed.proj.", "^embeddings.patch_embeddings.projection."),
        ("^ln_pre.", "^layer_norm."),
        ("^blocks.#.norm", "^layers.#.layer_norm"),
        ("^blocks.#.attn.proj.", "^layers.#.attention.o_proj."),
        ("^blocks.#.attn.", "^layers.#.attention."),
        ("^blocks.#.", "^layers.#."),
    )
)
_FPN = compile_renames(
    (
        (".dconv_2x2_0.", ".scale_layers.0."),
        (".dconv_2x2.", ".scale_layers.0."),
        (".dconv_2x2_1.", ".scale_layers.2."),
        (".conv_1x1.", ".proj1."),
        (".conv_3x3.", ".proj2."),
    )
)
_MLP = compile_renames(((".mlp.lin1.", ".mlp.proj_in."), (".mlp.lin2.", ".mlp.proj_out.")))
_EPS = 1e-5  # of the encoder's norms in Meta's code; transformers' default is 1e-6


def sam3_tracker_from_original(state: Mapping[str, Tensor]) -> Sam3TrackerModel:
    """Build the tracker from a state with sam3's own names. Leaves out the detector and the memory for videos.

    Raises:
        BadWeights: a weight is missing, unknown or of a wrong shape. The message names it.
    """
    model = Sam3TrackerModel(sam3_tracker_config())
    fill(model, sam3_tracker_names(state), title="a SAM 3's")
    return model


def sam3_tracker_config() -> Sam3TrackerConfig:
    """Return the configuration of the only published size."""
    return Sam3TrackerConfig(
        vision_config={"backbone_config": {"model_type": "sam3_vit_model", "layer_norm_eps": _EPS}}
    )


def sam3_tracker_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state from sam3's names to those of `Sam3TrackerModel`, in float32.

    In sam3, one layer gives queries, keys and values, and the first position is that of a token that transformers'
    encoder does not have.
    """
    return complete(dict(iterate_named(state)))


def iterate_named(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield those weights of a state that an image needs, under transformers' names."""
    for name, value in state.items():
        if name.startswith(TRUNK):
            yield from _iterate_encoder(name.removeprefix(TRUNK), value)
        elif name.startswith(NECK):
            yield rename(f"vision_encoder.neck.fpn_layers.{name.removeprefix(NECK)}", _FPN), value
        elif name.startswith(TRACKER) and (own := name.removeprefix(TRACKER)).startswith(_IMAGE):
            yield rename(own, (*_MLP, *DECODER_TO_OURS)), value


def _iterate_encoder(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    ours = f"vision_encoder.backbone.{rename(name, _ENCODER)}"
    if ".attention.qkv." in ours:
        for projection, part in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
            yield ours.replace(".qkv.", f".{projection}."), part
    elif name == "pos_embed":
        yield ours, value[:, 1:]
    elif not name.endswith(".freqs_cis"):  # these follow from the sizes
        yield ours, value
