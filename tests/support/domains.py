"""A predictor whose base answers images unlike those that it has learnt from."""

from dataclasses import replace

from backend.sam.embeddings.domain import Domain, direction_of
from backend.sam.predictor import Embedding, Outside, Predictor, base_predictor


def set_apart(
    predictor: Predictor, *, inside: Embedding, elsewhere: Embedding, plain: Predictor | None = None
) -> Predictor:
    """The predictor as if it had learnt only from the image of `inside`; unrelated images look like `elsewhere`.

    Where its encoder has an adapter, `plain` serves the base without it.
    """
    learnt, others = (direction_of(seen, frame=predictor.base.frame)[None] for seen in (inside, elsewhere))
    domain = Domain(learnt=learnt, others=others, radius=0.0)
    return replace(predictor, outside=Outside(domain, plain or base_predictor(predictor.base)))
