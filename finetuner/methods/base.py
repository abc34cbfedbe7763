"""What a training method is: which weights move, how a prompt is decoded with them, what is served of it."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, Predictor


@runtime_checkable
class Method(Protocol):
    """A way to change a base model. The trainer knows no more of it than this."""

    name: str

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """The weights that move, by name."""

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, previous: Float[Tensor, "n g g"] | None = None
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Low-resolution logits on the 1024 canvas and predicted IoUs, with gradient: the single mask, then the three.

        `previous` are logits of an earlier round, shown to the prompt encoder. In the order of the prompts; what one
        gets does not depend on the others.
        """

    def predictor(self, *, version: str) -> Predictor:
        """The weights as they are now, as they would be served; later steps do not change it."""

    def weights(self) -> bytes:
        """What is published: a safetensors file."""
