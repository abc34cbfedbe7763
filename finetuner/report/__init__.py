"""Builds what lies beside a checkpoint's weights: the report page, which says how good it is, and masks for review.

page      renders one self-contained HTML file
charts    draws the loss, the IoU over clicks, and the reliability of scores
tables    formats a checkpoint's figures as rows of text
data      counts the images and objects of a training, and what was left out
overlays  crops the held-out objects that a training changed most
pictures  reads images again after the training
review    writes the held-out objects for the review pages
images    writes the images of the training for them
"""

import hashlib
from collections.abc import Sequence

from backend.registry.checkpoint import REPORT_FILE, Manifest
from backend.registry.image_file import IMAGES_FILE
from backend.registry.review_file import REVIEW_FILE, LabelGuess
from finetuner.data.dataset import Dataset
from finetuner.measuring.evaluation import Measured
from finetuner.report.images import make_image_file
from finetuner.report.overlays import Pictures, changes, overlay
from finetuner.report.page import Shown, render
from finetuner.report.review import review_file


def checkpoint_files(  # noqa: PLR0913 - all by name
    manifest: Manifest,
    *,
    weights: bytes,
    dataset: Dataset,
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    pictures: Pictures,
    guesses: Sequence[LabelGuess | None] = (),
) -> dict[str, bytes]:
    """Build what lies beside a checkpoint's weights, by file name: the report page, and masks and images for review.

    `base` and `candidate` are the measurements of the held-out images, in the same order; `guesses` are
    those of their objects' labels.
    """
    samples = dataset.held_out
    improved, worsened = changes(samples, base, candidate)
    shown = Shown(
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        improved=[overlay(change, pictures=pictures) for change in improved],
        worsened=[overlay(change, pictures=pictures) for change in worsened],
    )
    return {
        REPORT_FILE: render(manifest, shown),
        REVIEW_FILE: review_file(samples, base=base, candidate=candidate, guesses=guesses),
        IMAGES_FILE: make_image_file(dataset),
    }
