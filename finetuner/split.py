"""Which images are held out: decided by the digest of an image's bytes, so that it stays where it is for ever.

The rule is a threshold on the digest alone: neither other images, nor task ids (Label Studio reuses them), nor the
order of annotating move an image. Small projects get a floor on top: where the threshold leaves fewer than `floor`
images, those with the smallest digests are held out too, and at least one image is left to learn from. A trained model
never starts from another trained model, so an image that the floor moves cannot flatter the candidate.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_DIGITS = 16  # of the digest: 64 bits


@dataclass(frozen=True, slots=True)
class Split:
    """Digests on each side, each sorted; `floored` are those that only the floor holds out."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    floored: tuple[str, ...]

    def describe(self) -> str:
        """One sentence for the manifest."""
        sentence = f"{len(self.train)} images to learn from, {len(self.held_out)} held out by the digest of their bytes"
        if not self.floored:
            return sentence
        return (
            f"{sentence}; {len(self.floored)} of them only because a project this small had too few below the threshold"
        )


def rank(image_sha256: str) -> float:
    """The digest as a number in [0, 1), uniform over images."""
    return int(image_sha256[:_DIGITS], 16) / float(16**_DIGITS)


def split_images(digests: Iterable[str], *, share: float = 0.2) -> Split:
    """Hold out about `share` of the images (hexadecimal SHA-256 each; repeated ones count once).

    Two images give one on either side; from five on at least two are held out. One image is only learnt from.
    """
    ordered = sorted(set(digests), key=lambda digest: (rank(digest), digest))
    below = [digest for digest in ordered if rank(digest) < share]
    floor = 0 if len(ordered) < 2 else 1 if len(ordered) < 5 else 2
    count = min(max(len(below), floor), max(len(ordered) - 1, 0))
    return Split(
        train=tuple(sorted(ordered[count:])),
        held_out=tuple(sorted(ordered[:count])),
        floored=tuple(sorted(ordered[len(below) : count])),
    )
