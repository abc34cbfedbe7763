"""The trainings that a split asks for, and the images on which their result is compared fairly with what is served."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from finetuner.config import TrainConfig
from finetuner.data.dataset import Dataset
from finetuner.data.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training: what it learns from, what is measured after it (nothing: it is the last of a cross-validation).

    `number` of `count`, from 1. `config` has its share of the bounds on work and time. `replayed`: what else is
    learnt from, of other things (replay). `empty_train`, `empty_held_out`: images without an object, on both sides,
    for a semantic head.
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
        """For whoever listens to the progress: which of several trainings this is."""
        return {"training": self.number, "trainings": self.count} if self.count > 1 else {}

    def how_far(self, *, done: float, seconds: float) -> dict[str, float]:
        """For whoever listens to the progress: `share`, in [0, 1], and `left_s` of all trainings together.

        Args:
            done: the share of this training that is over, in (0, 1], by the bound that ends it first.
            seconds: what this training has taken so far.
        """
        whole_s = seconds / done
        return {
            "share": (self.number - 1 + done) / self.count,
            "left_s": whole_s - seconds + whole_s * (self.count - self.number),
        }


def trainings(dataset: Dataset, *, config: TrainConfig, replayed: tuple[Sample, ...] = ()) -> tuple[Training, ...]:
    """One training; of a cross-validation one a fold, then one on all images, whose result is kept.

    Those share the bounds on work and time evenly. So what is measured in the folds is what a training as long as the
    last one achieves on images that it has not seen, and all of them cost what one does.
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
    """Digests of those that are neither among `learnt` nor near-duplicates of one of these samples that is."""
    pictures = {sample.picture for sample in samples if sample.picture and sample.image_sha256 in learnt}
    return frozenset(
        sample.image_sha256
        for sample in samples
        if sample.image_sha256 not in learnt and sample.picture not in pictures
    )


def fair_images(
    samples: Sequence[Sample], *, served: str, learnt: AbstractSet[str]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Digests of those held-out images to compare with the version `served`, which has learnt from `learnt`.

    What is served may have learnt from images that are held out now: it was cross-validated while the project was
    small. At least two that it has not seen are needed, for an interval; else it keeps its advantage.

    Returns:
        The images, and a sentence for the verdict where not all held-out images are fair.
    """
    held_out, unseen = frozenset(sample.image_sha256 for sample in samples), unseen_images(samples, learnt=learnt)
    if unseen == held_out:
        return held_out, ()
    if len(unseen) >= 2:
        return unseen, (f"compared with {served} on the {len(unseen)} images that it has not learnt from",)
    return held_out, (f"{served} has learnt from the images of this comparison, which favours it",)
