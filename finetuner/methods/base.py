"""What a training method is: which weights move, how images and prompts are seen with them, what is served of it."""

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
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample

ENCODER = "vision_encoder."  # what names of weights in the encoder begin with, in `trainable` and in a checkpoint


@runtime_checkable
class Views(Protocol):
    """The images to learn from: finetuner.data.embeddings.Embeddings of the base."""

    def __call__(self, sample: Sample) -> Embedding:
        """The embedding that is cached of it: the base's."""

    def picture(self, sample: Sample) -> Image.Image:
        """Its upright image, as large as the encoder takes it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one image: n prompts, and the logits of an earlier round for all of them or for none."""

    embedding: Embedding
    prompts: Sequence[Prompt]
    previous: Float[Tensor, "n g g"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodKind:
    """A way to change a base model, before a training by it has begun.

    Attributes:
        name: what `SAMLOOP_METHOD` and a checkpoint's manifest call it.
        begin: a training by it, from the base's weights. Raises BadInput where the base has no place for it.
        adapter: the kind of adapter that serving puts into the encoder; None: the decoder alone changes.
        pace: how much faster than the decoder's the adapter's weights move, unless the recipe says otherwise.
    """

    name: str
    begin: Callable[[BaseModel, TrainConfig], "Method"]
    adapter: AdapterKind | None = None
    pace: float = 1.0

    @property
    def is_exported_merged(self) -> bool:
        """Whether other programs can load its checkpoints; if not, only an ONNX graph holds all of one."""
        return self.adapter is None or self.adapter.is_merged

    def pace_of(self, config: TrainConfig) -> float:
        """The recipe's pace, or its own."""
        return self.pace if config.encoder_pace is None else config.encoder_pace


@runtime_checkable
class Method(Protocol):
    """A training under way. The trainer knows no more of its method than this."""

    name: str

    @property
    def frame(self) -> Frame:
        """How the base lays images out: on which grid its logits are."""

    @property
    def pace(self) -> float:
        """How much faster than the decoder's the weights move that begin with ENCODER."""

    @property
    def sizes(self) -> Mapping[str, Mapping[str, JsonValue] | None]:
        """What the manifest says of it beside the recipe, so that the weights can be read again: JSON.

        `adapter` is None, or the kind, rank and alpha of the adapter (backend.sam.adapters).
        """

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """The weights that move, by name; those in the encoder begin with ENCODER, and come last."""

    def begin_step(self, number: int, *, done: float) -> None:
        """Hear that a step begins, the first has number 1, with `done` in [0, 1] of the training behind it.

        All that a method draws by chance follows from its seed and this number.
        """

    def seen(self, sample: Sample, *, embeddings: Views, learns: bool) -> Embedding:
        """The sample's image as the encoder sees it now; `embeddings` are the base's, and know where its pixels are.

        Where it `learns`, the features gather the gradients of all decodes until `carry_back`.
        """

    def carry_back(self, *, of: int = 1) -> None:
        """Take the gradients that decodes left on what was `seen` since the last time on to the encoder's weights.

        `of`: how many images the step has; what a method itself adds to the loss counts by so much less an image.
        """

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Logits on the grid and predicted IoUs, with gradient: the single mask, then the three.

        `previous` are logits of an earlier round, shown to the prompt encoder. In the order of the prompts; a
        prompt's masks do not depend on the others.
        """

    def decode_several(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """The same for the prompts of several images at once, in their order, image after image."""

    def predictor(self, *, version: str) -> Predictor:
        """The weights as they are now, as they would be served; later steps do not change it."""

    def weights(self) -> bytes:
        """What is published: a safetensors file."""
