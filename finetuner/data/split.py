"""Chooses the held-out images by their content, so that the choice is permanent.

The rule is a threshold on the digest of the picture's hash (picture_hash). Neither other images, nor task ids (Label
Studio reuses them), nor the order of annotation move an image. Near-duplicates share the hash, so they are on the same
side, whichever comes first. A digest of the bytes would put the copy of a held-out image on the training side four
times out of five. Images with the same hash count as one picture.

With fewer than `CROSS_VALIDATED_BELOW` pictures, holding any out would cost too much. Every picture is then held out
once, from a training on the others (cross-validation, Stone 1974), and the final model learns from all. When a project
outgrows this, the threshold applies. Its served model has then learnt from pictures that are now held out, as `learnt`
in its manifest says (folds.fair_images).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backend.amounts import write_amount

CROSS_VALIDATED_BELOW = 8  # pictures
_LEAST_HELD_OUT = 2
_DIGITS = 16  # of a digest: 64 bits


@dataclass(frozen=True, slots=True)
class Fold:
    """Digests of the images to learn from (`train`) and to measure on (`held_out`); both sorted, and disjoint."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One fold with permanently held-out images, or the folds of a cross-validation, which hold out every image once.

    Attributes:
        folds: the folds.
        floored: images that are held out only because too few are below the threshold.
        alike: the groups of two or more near-duplicates.
        is_one_picture: whether all images are near-duplicates, and were split as if they were not.
    """

    folds: tuple[Fold, ...]
    floored: tuple[str, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    is_one_picture: bool = False

    @property
    def is_cross_validated(self) -> bool:
        """Whether every image is held out once, and the final model learns from all."""
        return len(self.folds) > 1

    @property
    def train(self) -> tuple[str, ...]:
        """The digests of the images that the final model learns from."""
        if self.is_cross_validated:
            return self.held_out
        return self.folds[0].train if self.folds else ()

    @property
    def held_out(self) -> tuple[str, ...]:
        """The digests of the images to measure on, with models that have not learnt from them."""
        return tuple(sorted(digest for fold in self.folds for digest in fold.held_out))

    def describe(self) -> str:
        """One or two sentences about the split, for the manifest and the progress."""
        if self.is_cross_validated:
            basis = (
                f"cross-validated in {len(self.folds)} folds: every one of {len(self.held_out)} images is measured "
                "after a short training without it, and the final model has learnt from all"
            )
        else:
            learnt = write_amount(len(self.train), "image")
            basis = f"{learnt} to learn from, {len(self.held_out)} held out, chosen by their content"
        clauses = [basis]
        if self.floored:
            clauses.append(f"{len(self.floored)} of them only because too few are below the threshold")
        if self.is_one_picture:
            clauses.append("all are near-duplicates, so the figures say little about other pictures")
        elif self.alike:
            clauses.append(
                f"{sum(map(len, self.alike))} near-duplicates stay together in {write_amount(len(self.alike), 'group')}"
            )
        return "; ".join(clauses)


def rank(picture: str) -> float:
    """The picture's rank in [0, 1), uniform over pictures, from its hash alone."""
    return int(hashlib.sha256(picture.encode()).hexdigest()[:_DIGITS], 16) / float(16**_DIGITS)


def split_images(pictures: Mapping[str, str], *, share: float = 0.2, most_folds: int = 7) -> Split:
    """Hold out about `share` of the pictures, or every picture in turn if there are few.

    Args:
        pictures: the picture hash of every image, by the digest of its bytes.
        share: the share of pictures to hold out, in (0, 1).
        most_folds: the largest number of folds in a cross-validation, at least 2; more pictures share folds.

    Returns:
        From eight pictures on, a split with one fold and at least two held-out pictures. Below, a cross-validation with
        a fold per picture. With fewer than two images, a split without folds.
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
