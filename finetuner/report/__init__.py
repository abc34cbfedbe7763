"""The page beside a checkpoint: how it was trained, how good it is, and what it gets right and wrong.

page      one HTML file that needs nothing else
charts    how the training went, what clicks bring, whether scores can be believed
tables    a checkpoint's figures as rows of text
data      what a training is about to see
overlays  the held-out objects that a training changed most
pictures  images read once more after the training
review    the held-out objects as a checkpoint keeps them for the review pages
"""

import hashlib
from collections.abc import Sequence

from backend.registry.checkpoint import Manifest
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import Measured
from finetuner.report.overlays import Pictures, changes, overlay
from finetuner.report.page import Shown, render


def checkpoint_page(  # noqa: PLR0913 - all by name
    manifest: Manifest,
    *,
    weights: bytes,
    samples: Sequence[Sample],
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    pictures: Pictures,
) -> bytes:
    """Render the page; `samples` are what `base` and `candidate` were measured on, in that order."""
    improved, worsened = changes(samples, base, candidate)
    shown = Shown(
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        improved=[overlay(change, pictures=pictures) for change in improved],
        worsened=[overlay(change, pictures=pictures) for change in worsened],
    )
    return render(manifest, shown)
