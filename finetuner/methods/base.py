"""What a training method is: which weights move, how images and prompts are seen with them, what is served of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from backend.masks.prompt import Prompt
from backend.sam.frame import Frame
from backend.sam.predictor import Embedding, Predictor
from finetuner.data.dataset import Sample

ENCODER = "vision_encoder."  # what names of weights in the encoder begin with, in `trainable` and in a checkpoint


@runtime_checkable
class Views(Protocol):
    """The images to learn from: finetuner.data.dataset.Embeddings of the base."""

    def __call__(self, sample: Sample) -> Embedding:
        """What is kept of it: the base's."""

    def picture(self, sample: Sample) -> Image.Image:
        """Its upright image, as large as the encoder takes it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one image: prompts, and for each the logits of an earlier round, or for none of them."""

    embedding: Embedding
    prompts: Sequence[Prompt]
    previous: Float[Tensor, "n g g"] | None = None


@runtime_checkable
class Method(Protocol):
    """A way to change a base model. The trainer knows no more of it than this."""

    name: str

    @property
    def frame(self) -> Frame:
        """How the base lays images out: on which grid its logits are."""

    @property
    def sizes(self) -> Mapping[str, Any]:
        """What the manifest tells of it beside the recipe, so that the weights can be read again: JSON."""

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
        """Low-resolution logits on the 1024 canvas and predicted IoUs, with gradient: the single mask, then the three.

        `previous` are logits of an earlier round, shown to the prompt encoder. In the order of the prompts; what one
        gets does not depend on the others.
        """

    def decode_several(self, images: Sequence[Asked]) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """The same for the prompts of several images at once, in their order, image after image."""

    def predictor(self, *, version: str) -> Predictor:
        """The weights as they are now, as they would be served; later steps do not change it."""

    def weights(self) -> bytes:
        """What is published: a safetensors file."""
