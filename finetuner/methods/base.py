"""The interface of a training method: the weights it trains, its forward passes, and the predictor it produces."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from PIL import Image
from pydantic import JsonValue
from torch import Tensor, nn

from backend.masks.prompt import Prompt
from backend.sam.adapters.kind import AdapterKind
from backend.sam.embeddings.embedding import Embedding
from backend.sam.family import Decoded
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample

ENCODER = "vision_encoder."  # prefix of the encoder's weights, in `trainable` and in a checkpoint


@runtime_checkable
class Views(Protocol):
    """Provides embeddings and pixels of samples: finetuner.data.embeddings.Embeddings of the base."""

    def __call__(self, sample: Sample) -> Embedding:
        """The sample's embedding by the base, from the cache."""

    def picture(self, sample: Sample) -> Image.Image:
        """The sample's upright image, scaled to the size of the encoder's canvas."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One image's n prompts, and the logits of their previous round on the decoder's grid, if there was one."""

    embedding: Embedding
    prompts: Sequence[Prompt]
    previous: Float[Tensor, "n g g"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodKind:
    """A training method, before a training.

    Attributes:
        name: its name in `SAMLOOP_METHOD` and in a checkpoint's manifest.
        begin: starts a training from the base's weights. Raises BadInput if the base has no place for its adapter.
        adapter: the kind of adapter in the encoder; None if the method trains the decoder alone.
        pace: the adapter's learning rate as a multiple of the decoder's, unless the recipe sets it.
    """

    name: str
    begin: Callable[[BaseModel, TrainConfig], "Method"]
    adapter: AdapterKind | None = None
    pace: float = 1.0

    @property
    def is_exported_merged(self) -> bool:
        """Whether an export merges the adapter, so that other programs can load it; if not, only ONNX holds it all."""
        return self.adapter is None or self.adapter.is_merged

    def pace_of(self, config: TrainConfig) -> float:
        """The recipe's pace if it sets one, else the method's own."""
        return self.pace if config.encoder_pace is None else config.encoder_pace


@runtime_checkable
class Method(Protocol):
    """A method during a training: all that the trainer knows of it."""

    name: str

    @property
    def frame(self) -> Frame:
        """The base's frame, with the grid of its logits."""

    @property
    def scores_objects(self) -> bool:
        """Whether the base's decoder scores whether the image shows the prompt's object."""

    @property
    def pace(self) -> float:
        """The learning rate of the encoder's weights as a multiple of the decoder's."""

    @property
    def sizes(self) -> Mapping[str, Mapping[str, JsonValue] | None]:
        """What the manifest needs besides the recipe to load the weights again, as JSON.

        `adapter` is None, or the kind, rank and alpha of the adapter (backend.sam.adapters).
        """

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """The weights to train, by name; those of the encoder have the prefix ENCODER and come last."""

    def begin_step(self, number: int, *, done: float) -> None:
        """Prepare for a step, numbered from 1, after the share `done` of the training, in [0, 1].

        Every random draw of a method depends on its seed and this number alone.
        """

    def embed(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:
        """The sample's embedding by the encoder with its current weights.

        Args:
            sample: the image.
            embeddings: provides the base's embeddings, and the pixels.
            learns: whether the features collect the gradients of all decodes until `carry_back`.
        """

    def carry_back(self, *, of: int = 1) -> None:
        """Back-propagate the gradients on the embeddings of this step through the encoder.

        `of` is the number of images in the step, by which a method divides the terms that it adds to the loss itself.
        """

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Decode n prompts on one image; a prompt's masks do not depend on the other prompts.

        Args:
            embedding: the image's.
            prompts: in image px.
            previous: (n, g, g) logits of the previous round on the decoder's grid, which the prompt encoder sees too.

        Returns:
            With gradient, in the order of the prompts: (n, 4, g, g) float32 logits on the decoder's grid, of the single
            mask and then the three, and (n, 4) float32 predicted IoUs.
        """

    def decode_several(self, images: Sequence[Asked]) -> Decoded:
        """Decode the prompts of several images at once, in the order of the images and their prompts.

        As `decode`, with the object scores where the family has them.
        """

    def predictor(self, *, version: str) -> Predictor:
        """A predictor with a copy of the current weights, as it would be served."""

    def weights(self) -> bytes:
        """The checkpoint's weights: the bytes of a safetensors file."""
