"""Which images are held out: decided by what an image's bytes show, so that it stays where it is for ever.

The rule is a threshold on the digest of the picture's hash (picture_hash) alone. So neither other images, nor task
ids (Label Studio reuses them), nor the order of annotating move an image; and near-duplicates, which share the hash,
are on one side whichever of them comes first: a digest of the bytes would put the copy of a held-out image among those
that are learnt from four times out of five. Images of one hash count as one picture.

Fewer than `CROSS_VALIDATED_BELOW` pictures are too few to give any away: every one is held out once, from a training on
the others (cross-validation, Stone 1974), and the model that is kept has learnt from all. Once a project outgrows this,
the threshold holds; until then a served model has learnt from pictures that will be held out, which `learnt` in its
manifest tells (folds.fair_images).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CROSS_VALIDATED_BELOW = 8  # pictures
_LEAST_HELD_OUT = 2
_DIGITS = 16  # of a digest: 64 bits


@dataclass(frozen=True, slots=True)
class Fold:
    """Digests of images: `train` is learnt from, `held_out` measured on; both sorted, none on both sides."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One fold, held out for ever; or several for a cross-validation, which hold out every image once.

    `floored` are images that are held out only because too few are below the threshold. `alike` are the groups of two
    and more near-duplicates; `is_one_picture`: all images are near-duplicates, and were split as if they were not.
    """

    folds: tuple[Fold, ...]
    floored: tuple[str, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    is_one_picture: bool = False

    @property
    def is_cross_validated(self) -> bool:
        """Whether every image is held out once, and what is kept learns from all."""
        return len(self.folds) > 1

    @property
    def train(self) -> tuple[str, ...]:
        """What the model that is kept learns from."""
        if self.is_cross_validated:
            return self.held_out
        return self.folds[0].train if self.folds else ()

    @property
    def held_out(self) -> tuple[str, ...]:
        """What is measured on, by models that have not learnt from it."""
        return tuple(sorted(digest for fold in self.folds for digest in fold.held_out))

    def describe(self) -> str:
        """A sentence or two for the manifest and for whoever waits."""
        if self.is_cross_validated:
            basis = (
                f"cross-validated in {len(self.folds)} folds: every one of {len(self.held_out)} images is measured "
                "after a short training without it, and the model that is kept has learnt from all"
            )
        else:
            basis = f"{len(self.train)} images to learn from, {len(self.held_out)} held out by what they show"
        told = [basis]
        if self.floored:
            told.append(f"{len(self.floored)} of them only because so few are below the threshold")
        if self.is_one_picture:
            told.append("all are near-duplicates, so the figures say little about other pictures")
        elif self.alike:
            told.append(f"{sum(map(len, self.alike))} near-duplicates are kept together in {len(self.alike)} groups")
        return "; ".join(told)


def rank(picture: str) -> float:
    """The picture's place in [0, 1), uniform over pictures."""
    return int(hashlib.sha256(picture.encode()).hexdigest()[:_DIGITS], 16) / float(16**_DIGITS)


def split_images(pictures: Mapping[str, str], *, share: float = 0.2, most_folds: int = 7) -> Split:
    """Hold out about `share` of the pictures, or all in turn where there are few.

    Args:
        pictures: the picture's hash of each image, by the digest of its bytes.
        share: of the pictures, in (0, 1).
        most_folds: of a cross-validation, at least 2; more pictures share folds.

    Returns:
        A split with one fold and at least two pictures on its held-out side, from eight pictures on; below, one with a
        fold for each picture. Fewer than two images have none.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for digest, picture in sorted(pictures.items()):
        groups[picture].append(digest)
    alike = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    is_one_picture = len(groups) == 1 and len(pictures) > 1
    if is_one_picture:
        groups = {digest: [digest] for digest in pictures}
    ordered = sorted(groups, key=lambda picture: (rank(picture), picture))
    if len(ordered) < 2:
        return Split(folds=(), alike=alike)
    if len(ordered) < CROSS_VALIDATED_BELOW:
        count = min(len(ordered), most_folds)
        sides = [ordered[start::count] for start in range(count)]
        return Split(folds=_folds(sides, groups), alike=alike, is_one_picture=is_one_picture)
    below = sum(rank(picture) < share for picture in ordered)
    count = min(max(below, _LEAST_HELD_OUT), len(ordered) - 1)
    return Split(
        folds=_folds([ordered[:count]], groups),
        floored=_images(ordered[below:count], groups),
        alike=alike,
        is_one_picture=is_one_picture,
    )


def _folds(sides: Iterable[list[str]], groups: Mapping[str, list[str]]) -> tuple[Fold, ...]:
    return tuple(
        Fold(
            train=_images((group for group in groups if group not in set(side)), groups), held_out=_images(side, groups)
        )
        for side in sides
    )


def _images(pictures: Iterable[str], groups: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted(digest for picture in pictures for digest in groups[picture]))
