"""Reads samples from annotated tasks, and splits them into a training side and a held-out side."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from backend.errors import NotAuthorized, NothingToLearn, SamloopError, Unavailable
from backend.images.source import open_image
from finetuner.config import Rules
from finetuner.data.annotations import AnnotatedTask, objects_of
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.parts import divide_merged
from finetuner.data.sample import Sample, picture_hash
from finetuner.data.split import Split, rank, split_images
from finetuner.patience import is_passing, read_patiently
from finetuner.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All usable images of a project.

    Attributes:
        train: the images to learn from; in a cross-validation, all.
        held_out: the images to measure on; in a cross-validation, all, fold by fold.
        folds: per fold, the images to learn from and those to measure on.
        empty: per fold, the two sides of the images without an object, from which only the semantic head learns.
        split: the split by digests.
        digest: the data digest of all samples.
    """

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    folds: tuple[tuple[tuple[Sample, ...], tuple[Sample, ...]], ...]
    empty: tuple[tuple[tuple[Sample, ...], tuple[Sample, ...]], ...] = ()
    split: Split
    digest: str

    @property
    def empty_learnt(self) -> tuple[Sample, ...]:
        """The images without an object that the final model learns from."""
        train, held_out = self.empty[0] if self.empty else ((), ())
        return (*train, *held_out) if self.split.is_cross_validated else train

    @property
    def empty_held_out(self) -> tuple[Sample, ...]:
        """The images without an object that a semantic head is measured on."""
        return tuple(sample for _, held_out in self.empty for sample in held_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReader:
    """Turns annotated tasks into samples, with their embeddings on disk.

    It leaves out a task with an unusable image. A temporary failure raises instead: otherwise a training would silently
    lack the image.
    """

    read: Callable[[AnnotatedTask], bytes]
    embeddings: Embeddings
    rules: Rules
    max_pixels: int
    exclusions: Exclusions
    sleep: Callable[[float], None] = time.sleep

    def samples(self, tasks: Iterable[AnnotatedTask], *, progress: Progress) -> list[Sample]:
        """Read the tasks one by one, with one image in memory at a time; then divide merged regions into objects.

        Raises:
            NotAuthorized: the first image is refused, so the key is wrong for all. A later one is only left out.
            Unavailable: an image cannot be read at the moment, or the cache folder cannot be written; try again later.
        """
        samples: list[Sample] = []
        objects = 0
        for number, task in enumerate(tasks, start=1):
            try:
                sample = self._sample(task)
            except Unavailable:
                raise
            except (SamloopError, OSError) as fault:
                if number == 1 and isinstance(fault, NotAuthorized):
                    raise
                self.exclusions.add("its image cannot be used", task=task.task_id, why=str(fault)[:300])
                continue
            if sample is not None:
                samples.append(sample)
                objects += len(sample.objects)
                progress("embedding", images=len(samples), tasks=number, objects=objects)
        if self.rules.merged_regions == "keep":
            return samples
        return divide_merged(samples, min_object_px=self.rules.min_object_px, exclusions=self.exclusions)

    def _read(self, task: AnnotatedTask) -> bytes:
        try:
            return read_patiently(lambda: self.read(task), sleep=self.sleep)
        except (SamloopError, OSError) as fault:
            if is_passing(fault):
                raise Unavailable(_not_now(task, fault)) from fault
            raise

    def _sample(self, task: AnnotatedTask) -> Sample | None:
        data = self._read(task)
        image = open_image(data, max_pixels=self.max_pixels)
        left_out = len(self.exclusions)
        objects = tuple(
            objects_of(
                task,
                height_px=image.height,
                width_px=image.width,
                rules=self.rules,
                exclusions=self.exclusions,
            )
        )
        is_complete = len(self.exclusions) == left_out
        if not objects and not (task.is_empty and self.rules.empty_is_background):
            return None
        digest = hashlib.sha256(data).hexdigest()
        try:
            self.embeddings.ensure(digest, data, again=partial(self.read, task))
        except OSError as fault:
            raise Unavailable(
                f"the cache folder cannot be written ({fault}): free some space and train again"
            ) from fault
        return Sample(
            image_sha256=digest,
            height_px=image.height,
            width_px=image.width,
            objects=objects,
            picture=picture_hash(image),
            is_ground_truth=task.is_ground_truth,
            is_complete=is_complete,
            task_id=task.task_id,
            image_uri=task.image_uri,
        )


def assemble(samples: Sequence[Sample], *, share: float, exclusions: Exclusions, most_folds: int = 7) -> Dataset:
    """Split the samples into the two sides of a training; see split.split_images.

    Raises:
        NothingToLearn: there are fewer than two different images with an object.
    """
    drawn = [sample for sample in samples if sample.objects]
    split = split_images(
        {sample.image_sha256: _picture(sample) for sample in drawn},
        share=share,
        most_folds=most_folds,
    )
    if not split.folds:
        left_out = f"; left out: {exclusions.sentence()}" if len(exclusions) else ""
        raise NothingToLearn(_too_few(drawn) + left_out)

    def choose(digests: tuple[str, ...]) -> tuple[Sample, ...]:
        wanted = frozenset(digests)
        return tuple(sample for sample in drawn if sample.image_sha256 in wanted)

    folds = tuple((choose(fold.train), choose(fold.held_out)) for fold in split.folds)
    return Dataset(
        train=choose(split.train),
        held_out=tuple(sample for _, held_out in folds for sample in held_out),
        folds=folds,
        empty=_empty_sides(samples, folds=folds, share=share, is_cross_validated=split.is_cross_validated),
        split=split,
        digest=data_digest(samples),
    )


def _picture(sample: Sample) -> str:
    return sample.picture or sample.image_sha256


def _empty_sides(
    samples: Sequence[Sample],
    *,
    folds: Sequence[tuple[tuple[Sample, ...], tuple[Sample, ...]]],
    share: float,
    is_cross_validated: bool,
) -> tuple[tuple[tuple[Sample, ...], tuple[Sample, ...]], ...]:
    """Per fold, the two sides of the images without an object, chosen by the same rule as the other images.

    They never move another image, since the decoder does not learn from them. Copies of an image with objects are left
    out: it is unknown which of the two annotations is right.
    """
    known = {_picture(sample) for sample in samples if sample.objects}
    empty = [sample for sample in samples if not sample.objects and _picture(sample) not in known]
    pictures = sorted({_picture(sample) for sample in empty}, key=lambda picture: (rank(picture), picture))
    if is_cross_validated:
        held_out = [frozenset(pictures[number :: len(folds)]) for number in range(len(folds))]
    else:
        held_out = [frozenset(picture for picture in pictures if rank(picture) < share)]
    return tuple(
        (
            tuple(sample for sample in empty if _picture(sample) not in side),
            tuple(sample for sample in empty if _picture(sample) in side),
        )
        for side in held_out
    )


def data_digest(samples: Sequence[Sample]) -> str:
    """The SHA-256 of all images, their marks as ground truth and their objects, independent of their order.

    Every change of the annotations that a training sees changes the digest: a mask or a label, an added or deleted
    object, annotation or task, a mark as ground truth.
    """
    lines = sorted(
        json.dumps(
            [
                sample.image_sha256,
                sample.is_ground_truth,
                item.label,
                item.bounds.y0_px,
                item.bounds.x0_px,
                *item.crop_shape,
                hashlib.sha256(item.packed.bits).hexdigest(),
            ]
        )
        for sample in samples
        for item in sample.objects
    )
    lines += sorted(
        json.dumps([sample.image_sha256, sample.is_ground_truth]) for sample in samples if not sample.objects
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _not_now(task: AnnotatedTask, fault: Exception) -> str:
    return (
        f"the image of task {task.task_id} cannot be read at the moment: {str(fault)[:300]}; samloop does not train "
        "without it: train again when it can be read, or delete the task"
    )


def _too_few(samples: Sequence[Sample]) -> str:
    """The reason why a training is impossible, and the next step."""
    needed = "a training needs at least two different images with a brush, polygon or other mask on both"
    if not samples:
        return f"no usable image: {needed}, one to learn from and one to measure on"
    if len(samples) == 1:
        return f"1 usable image: {needed}, one to learn from and one to measure on: annotate another"
    return f"all {len(samples)} usable images are the same file: {needed}: annotate others"
