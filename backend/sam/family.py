"""What a model family is: all that differs between one kind of promptable model and another.

A family is one file in `families` with a constant `FAMILY`, beside an entry in `weights` that names where its weights
come from. No other module asks what kind a model is: it asks the base's family.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, SamModel
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.sam.adapters.places import Place
from backend.sam.frame import Frame

Maps = tuple[Float[Tensor, "1 _ _ _"], ...]
NO_OBJECT = -1024.0  # the logit of every cell of an absent object's mask: `NO_OBJ_SCORE` of the publishers' code
# Families share the names of SAM's parts, and no class: mypy reads them as SAM's, at run time any model is one.
if TYPE_CHECKING:
    Model = SamModel
    MaskDecoder = SamMaskDecoder
else:
    Model = PreTrainedModel
    MaskDecoder = nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderInputs:
    """What a decoder is asked: n prompts, about m images.

    Attributes:
        maps: what `Family.encode` gave, the images' maps of a level stacked to (m, c, rows, columns).
        positions: (1, cells, c), as `decoder.cells_of` gives them of `Family.positions`; alike for every image.
        sparse: (n, k, c), the prompt encoder's tokens of clicks and boxes, in the decoder's dtype or a finer one.
        dense: the prompt encoder's maps of masks: (n, c, rows, columns), or one for all of the prompts, and then of a
            single cell where it is alike in all.
        absent: (n, k), True for tokens that fill up prompts which have fewer: nothing attends to them.
        image_of: (n,), which of several images a prompt is for.
    """

    maps: tuple[Float[Tensor, "m _ _ _"], ...]
    positions: Float[Tensor, "1 cells c"]
    sparse: Float[Tensor, "n k c"]
    dense: Float[Tensor, "d c *s"]
    absent: Bool[Tensor, "n k"] | None = None
    image_of: Int[Tensor, " n"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a decoder answers n prompts.

    Attributes:
        logits: four masks for each prompt, the single one first, in the frame of the grid; above 0 on the object.
        ious: what it predicts of their IoUs, which may be below 0 or above 1.
        object_scores: above 0 where the image shows the prompt's object; None: the family has no such score.
    """

    logits: Float[Tensor, "n 4 g g"]
    ious: Float[Tensor, "n 4"]
    object_scores: Float[Tensor, " n"] | None = None

    def to_float32(self) -> "Decoded":
        """The same in float32."""
        scores = None if self.object_scores is None else self.object_scores.float()
        return Decoded(logits=self.logits.float(), ious=self.ious.float(), object_scores=scores)

    def hide_absent(self) -> Float[Tensor, "n 4 g g"]:
        """The logits, which are `NO_OBJECT` throughout where the object is absent.

        Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), appendix D.1, "Occlusion head"; as
        `_forward_sam_heads` of their code.
        """
        if self.object_scores is None:
            return self.logits
        return self.logits.masked_fill((self.object_scores <= 0)[:, None, None, None], NO_OBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalCode:
    """How the program that a family was published with loads its weights.

    Attributes:
        file: the name to write the weights under.
        state: every weight in float32 under its original name.
        usage: how a Python program loads the file, as a paragraph of Markdown.
        wrapper: the key under which the file holds the state; None: the file is the state.
    """

    file: str
    state: Mapping[str, Tensor]
    usage: str
    wrapper: str | None = None


@runtime_checkable
class Family(Protocol):
    """One kind of promptable model. Stateless."""

    name: str  # as logs and tests call it
    title: str  # as cards of exports call it
    architectures: tuple[str, ...]  # by any of which `config.json` marks its `save_pretrained` folders
    frame: Frame
    formats: tuple[str, ...]  # of `samloop export`: hf, sam, onnx
    recomputes: bool  # whether training keeps too much of a pass through the encoder, unless `blocks` run twice

    def load(self, folder: Path) -> Model:
        """Read a `save_pretrained` folder: float32, on the CPU.

        Raises:
            BadWeights: the folder holds no model of this family, or not all of one.
        """

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """Bring a loaded model to where it computes, and its encoder, or what is costly in it, to `dtype`."""

    def sight(self, model: Model) -> nn.Module:
        """All whose weights an embedding depends on: most often the encoder alone."""

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """What an encoder, with or without an adapter, sees in a normalised canvas: the coarsest map first.

        Most families give one map. Those whose decoder has skips for fine detail give the finer ones after it.
        """

    def positions(self, model: Model) -> Float[Tensor, "1 c rows cols"]:
        """The positional encoding of the coarsest map's cells, which is the same for every image."""

    def decode(self, decoder: MaskDecoder, inputs: DecoderInputs) -> Decoded:
        """Four masks for each prompt, with gradient; those of absent objects as they are."""

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """The layers that an adapter sits on, by name, in the order of the blocks; none where there is no such."""

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """The parts of an encoder that can be run again on the way back instead of keeping what they saw."""

    def usage(self) -> str:
        """How a Python program loads what `save_pretrained` wrote, as a paragraph of Markdown."""

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """The model for the program that the family was published with; asked of families with the format `sam`."""
