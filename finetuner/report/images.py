"""Writes the images of a training for the review pages, in the format of registry.image_file."""

from collections import Counter
from collections.abc import Iterable

from backend.masks.packed import KeptMask
from backend.masks.svg import fit_view, resize
from backend.registry.image_file import VIEW_PX, StoredImage, encode_images
from finetuner.data.dataset import Dataset
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import UNLABELLED


def make_image_file(dataset: Dataset) -> bytes:
    """Encode every image of both sides, an image of a task once, those without an object last."""
    sides = (dataset.train, dataset.held_out, dataset.empty_learnt, dataset.empty_held_out)
    samples = {(sample.image_sha256, sample.task_id): sample for side in sides for sample in side}
    return encode_images(_store_images(samples.values()))


def _store_images(samples: Iterable[Sample]) -> Iterable[StoredImage]:
    for sample in samples:
        view = fit_view(sample.height_px, sample.width_px, longest_px=VIEW_PX)
        labels = Counter(UNLABELLED if item.label is None else item.label for item in sample.objects)
        yield StoredImage(
            task_id=sample.task_id,
            image_uri=sample.image_uri,
            image_sha256=sample.image_sha256,
            height_px=sample.height_px,
            width_px=sample.width_px,
            labels=dict(labels),
            masks=[KeptMask.of(resize(item.mask, view)) for item in sample.objects],
        )
