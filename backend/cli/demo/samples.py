"""The type of a set of samples: images with known masks, and the demo's words for them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True)
class SampleObject:
    """One object of an image: its label and its mask, in the image's pixels."""

    label: str
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class SampleImage:
    """An image as a PNG file, with the objects whose masks are known.

    Attributes:
        name: file name, unique among the samples.
        png: the file's bytes.
    """

    name: str
    png: bytes
    width_px: int
    height_px: int
    objects: tuple[SampleObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """The images of a sample project.

    Attributes:
        title: the project's, in Label Studio.
        label_colours: by label, as CSS writes them.
        object_noun: what a person clicks on, with its article.
        read: returns the images; the images to label by hand come last.
    """

    title: str
    label_colours: dict[str, str]
    object_noun: str
    read: Callable[[], tuple[SampleImage, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the labelling interface."""
        return tuple(self.label_colours)
