"""The interface of a model family: everything in which one kind of promptable model differs from another.

A family is one file in `families` with a constant `FAMILY`, and an entry in `weights` that says where its weights come
from. No other module asks of what kind a model is; it asks the base's family.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
Reached = tuple[int, int] | None
NO_OBJECT = -1024.0  # the logit of every cell of an absent object's mask: `NO_OBJ_SCORE` of the publishers' code
# Families share the names of SAM's parts, but no class. For mypy they are SAM's; at run time any model will do.
if TYPE_CHECKING:
    Model = SamModel
    MaskDecoder = SamMaskDecoder
else:
    Model = PreTrainedModel
    MaskDecoder = nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderInputs:
    """The inputs of a decoder: n prompts for m images.

    Attributes:
        maps: the maps from `Family.encode`, by level, those of all images stacked to (m, c, rows, columns).
        positions: (1, cells, c), `decoder.cells_of` of `Family.positions`; the same for every image.
        sparse: (n, k, c), the prompt encoder's tokens of clicks and boxes, in the decoder's dtype or a finer dtype.
        dense: the prompt encoder's maps of masks: (n, c, rows, columns), or one map for all prompts; a map that is
            the same in all cells may have a single cell.
        absent: (n, k), True for padding tokens of prompts with fewer than k tokens; nothing attends to them.
        image_of: (n,), the number of the image that a prompt is for; None if there is one image.
        reached: how many rows and columns of the first map's cells matter; None for all. Beyond them, a decoder may
            give any logits at or below 0.
    """

    maps: tuple[Float[Tensor, "m _ _ _"], ...]
    positions: Float[Tensor, "1 cells c"]
    sparse: Float[Tensor, "n k c"]
    dense: Float[Tensor, "d c *s"]
    absent: Bool[Tensor, "n k"] | None = None
    image_of: Int[Tensor, " n"] | None = None
    reached: Reached = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The answers of a decoder to n prompts.

    Attributes:
        logits: four masks for every prompt, the single mask first, in the frame of the grid; above 0 on the object.
        ious: the predicted IoUs of the masks, which may be below 0 or above 1.
        object_scores: above 0 if the image shows the prompt's object; None if the family has no such score.
    """

    logits: Float[Tensor, "n 4 g g"]
    ious: Float[Tensor, "n 4"]
    object_scores: Float[Tensor, " n"] | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in the order of the attributes."""
        return (self.logits, self.ious, *(() if self.object_scores is None else (self.object_scores,)))

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> "Decoded":
        """Return the answers whose `tensors` these are."""
        return cls(**dict(zip(("logits", "ious", "object_scores"), tensors, strict=False)))

    def to_float32(self) -> "Decoded":
        """Return the same answers in float32."""
        return Decoded.of(values.float() for values in self.tensors)

    def hide_absent(self) -> Float[Tensor, "n 4 g g"]:
        """Return the logits, with `NO_OBJECT` in every cell of a mask whose object is absent.

        Ravi et al., "SAM 2: Segment Anything in Images and Videos" (2024), appendix D.1, "Occlusion head"; as in
        `_forward_sam_heads` of their code.
        """
        if self.object_scores is None:
            return self.logits
        return self.logits.masked_fill((self.object_scores <= 0)[:, None, None, None], NO_OBJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalCode:
    """The weights for the program that a family was published with.

    Attributes:
        file: the name of the file for the weights.
        state: every weight in float32 under its original name.
        usage: how a Python program loads the file, as a paragraph of Markdown.
        wrapper: the key under which the file holds the state; None if the file is the state itself.
    """

    file: str
    state: Mapping[str, Tensor]
    usage: str
    wrapper: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalReader:
    """Reads the file of weights that a release's own code, or a training with it, wrote.

    A module of `families` with a constant `READERS` adds readers.

    Attributes:
        marks: beginnings of names. A file that has names with all of them is the reader's.
        read: builds the model from the file's state. It raises BadWeights, KeyError, IndexError, ValueError or
            RuntimeError where weights are missing, unknown or of a wrong shape.
    """

    marks: tuple[str, ...]
    read: Callable[[Mapping[str, Tensor]], PreTrainedModel]

    def knows(self, names: Collection[str]) -> bool:
        """Whether a file with these names is the reader's."""
        return all(any(name.startswith(mark) for name in names) for mark in self.marks)


@runtime_checkable
class Family(Protocol):
    """One kind of promptable model. Stateless."""

    name: str  # in logs and tests
    title: str  # in the cards of exports
    licence: str  # of the published weights
    architectures: tuple[str, ...]  # the class names in `config.json` that mark its `save_pretrained` folders
    frame: Frame
    formats: tuple[str, ...]  # the formats of `samloop export`: hf, sam, onnx
    holds_in_int8: bool  # whether masks were compared, and linear layers in int8 keep them
    recomputes: bool  # whether a training runs `blocks` twice, because one pass would hold too much memory
    scores_objects: bool  # whether `decode` gives object scores

    def load(self, folder: Path) -> Model:
        """Read a `save_pretrained` folder: float32, on the CPU.

        Raises:
            BadWeights: the folder holds no model of this family, or lacks weights.
        """

    def place(self, model: Model, *, device: torch.device, dtype: torch.dtype) -> None:
        """Move a loaded model to a device, and cast its encoder, or the encoder's costly parts, to `dtype`."""

    def sight(self, model: Model) -> nn.Module:
        """Return the parts whose weights an embedding depends on: usually the encoder alone."""

    def encode(self, encoder: nn.Module, pixels: Float[Tensor, "1 3 side side"]) -> Maps:
        """Encode a normalised canvas, with or without an adapter; return the maps, the coarsest first.

        Most families give one map. A family whose decoder has skips for fine detail gives the finer maps after it.
        """

    def positions(self, model: Model) -> Float[Tensor, "1 c rows cols"]:
        """Return the positional encoding of the coarsest map's cells. It is the same for every image."""

    def decode(self, decoder: MaskDecoder, inputs: DecoderInputs) -> Decoded:
        """Decode prompts to four masks for every prompt, with gradients. Masks of absent objects are not hidden."""

    def places(self, encoder: nn.Module) -> Mapping[str, Place]:
        """Return the layers that take an adapter, by name, in the order of the blocks; nothing if none does."""

    def blocks(self, encoder: nn.Module) -> Iterator[nn.Module]:
        """Yield the parts of an encoder that may run again in the backward pass, instead of holding their inputs."""

    def usage(self) -> str:
        """Say how a Python program loads a `save_pretrained` folder of the model, as a paragraph of Markdown."""

    def original(self, model: Any) -> OriginalCode:  # noqa: ANN401 - any of its models
        """Return the model for the program that the family was published with; only if `formats` has `sam`."""
