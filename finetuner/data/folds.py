"""Lists the trainings of a split, and the held-out images on which the served version can be compared fairly."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from finetuner.config import TrainConfig
from finetuner.data.dataset import Dataset
from finetuner.data.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a split.

    Attributes:
        number: its number, from 1.
        count: the number of trainings.
        train: the samples to learn from.
        held_out: the samples to measure on afterwards; none in the last training of a cross-validation.
        config: the recipe, with this training's share of the limits on work and time.
        replayed: unrelated photographs to learn from too (replay).
        empty_train: images without an object for the semantic head to learn from.
        empty_held_out: images without an object to measure the semantic head on.
    """

    number: int
    count: int
    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    config: TrainConfig
    replayed: tuple[Sample, ...] = ()
    empty_train: tuple[Sample, ...] = ()
    empty_held_out: tuple[Sample, ...] = ()

    def figures(self) -> dict[str, int]:
        """The progress figures `training` and `trainings` if there are several; else none."""
        return {"training": self.number, "trainings": self.count} if self.count > 1 else {}

    def how_far(self, *, done: float, seconds: float) -> dict[str, float]:
        """The progress figures `share`, in [0, 1], and `left_s` of all trainings together.

        Args:
            done: the share of this training that is over, in (0, 1], by the limit that ends it first.
            seconds: the duration of this training so far.
        """
        whole_s = seconds / done
        return {
            "share": (self.number - 1 + done) / self.count,
            "left_s": whole_s - seconds + whole_s * (self.count - self.number),
        }


def trainings(dataset: Dataset, *, config: TrainConfig, replayed: tuple[Sample, ...] = ()) -> tuple[Training, ...]:
    """The trainings of a dataset: one, or in a cross-validation one per fold and a last one on all images.

    The trainings of a cross-validation share the limits on work and time evenly. The folds therefore measure what a
    training as long as the last one achieves on unseen images, and all together cost no more than a single training.
    """
    sides = [*dataset.folds, *([(dataset.train, ())] if dataset.split.is_cross_validated else [])]
    empty = list(dataset.empty) or [((), ())] * len(dataset.folds)
    empty += [(dataset.empty_learnt, ())] * (len(sides) - len(empty))
    share = replace(
        config,
        seconds=config.seconds / len(sides),
        decodes=None if config.decodes is None else max(1, config.decodes // len(sides)),
        semantic_steps=max(1, config.semantic_steps // len(sides)),
    )
    return tuple(
        Training(
            number=number,
            count=len(sides),
            train=train,
            held_out=held_out,
            config=share,
            replayed=replayed,
            empty_train=empty_train,
            empty_held_out=empty_held_out,
        )
        for number, ((train, held_out), (empty_train, empty_held_out)) in enumerate(
            zip(sides, empty, strict=True), start=1
        )
    )


def unseen_images(samples: Sequence[Sample], *, learnt: AbstractSet[str]) -> frozenset[str]:
    """The digests of the samples that are not in `learnt`, nor near-duplicates of a sample in `learnt`."""
    pictures = {sample.picture for sample in samples if sample.picture and sample.image_sha256 in learnt}
    return frozenset(
        sample.image_sha256
        for sample in samples
        if sample.image_sha256 not in learnt and sample.picture not in pictures
    )


def fair_images(
    samples: Sequence[Sample], *, served: str, learnt: AbstractSet[str]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The held-out images for a fair comparison with the version `served`, which has learnt from `learnt`.

    A served version may have learnt from images that are held out now, if it was cross-validated while the project was
    small. An interval needs at least two images that it has not seen; with fewer it keeps its advantage.

    Returns:
        The digests of the images, and a sentence for the verdict if some held-out images are unfair.
    """
    held_out, unseen = frozenset(sample.image_sha256 for sample in samples), unseen_images(samples, learnt=learnt)
    if unseen == held_out:
        return held_out, ()
    if len(unseen) >= 2:
        return unseen, (f"compared with {served} on the {len(unseen)} images that it has not learnt from",)
    return held_out, (f"{served} has learnt from the images of this comparison, which favours it",)
