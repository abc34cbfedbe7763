"""Images and their objects, ready to learn from; an image is encoded once for all trainings and kept on disk."""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from backend.errors import NotAuthorized, NothingToLearn, SamloopError
from backend.images.source import open_image
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, halved, widened
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from finetuner.config import Rules
from finetuner.data.annotations import AnnotatedTask, objects_of
from finetuner.data.exclusions import Exclusions
from finetuner.data.fingerprint import picture_hash
from finetuner.data.objects import LabelledMask
from finetuner.data.split import Split, split_images
from finetuner.data.views import View
from finetuner.progress import Progress

log = logging.getLogger(__name__)
_OTHER_PROCESS_S = 60.0
_MOST_PICTURES = 64
_AS_IT_IS = View()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """One annotated image: the digest of its bytes, its upright size, and at least one object.

    `picture` is what near-duplicates share (fingerprint); "" where that is not known. `is_ground_truth`: an annotation
    that is marked so is among those that its objects come from. `task_id` and `image_uri`: where it came from, for
    people who look at it later. `view` is how the image is seen; size and objects are the view's.
    """

    image_sha256: str
    height_px: int
    width_px: int
    objects: tuple[LabelledMask, ...]
    picture: str = ""
    is_ground_truth: bool = False
    task_id: int | str | None = None
    image_uri: str | None = None
    view: View = _AS_IT_IS

    def viewed(self, view: View) -> "Sample":
        """The whole image in that view, and what is seen of its objects; the whole of it if that is too little."""
        objects = tuple(seen for each in self.objects if (seen := view.item(each)) is not None)
        if not objects and view.extent < 1:
            return self.viewed(view.whole)
        height, width = view.size_px(self.height_px, self.width_px)
        return replace(self, objects=objects, height_px=height, width_px=width, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All usable images of a project.

    `train` and `held_out` are the two sides of the split: of a cross-validation, all images twice, the held-out ones
    fold by fold. `folds` are its parts: what is learnt from, what is measured on.
    """

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    folds: tuple[tuple[tuple[Sample, ...], tuple[Sample, ...]], ...]
    split: Split
    digest: str


class Embeddings:
    """Embeddings by sample, from the tier on disk that the server and all trainings on this machine share.

    So an image that somebody clicked on is not encoded again, and a training sees what the click saw.

    Args:
        base: whose encoder it is.
        disk: the tier.
        max_pixels: images with more are refused before they are decoded.
    """

    def __init__(self, base: BaseModel, *, disk: DiskEmbeddings, max_pixels: int) -> None:
        self._base, self._disk, self._max_pixels = base, disk, max_pixels
        self._sources: dict[str, Callable[[], bytes]] = {}
        self._pictures: OrderedDict[tuple[str, View], Image.Image] = OrderedDict()

    def __call__(self, sample: Sample) -> Embedding:
        """The sample's embedding; encoded here where that was not done yet, or others pushed it out of the tier.

        Raises:
            NothingToLearn: it is gone, and so is the image.
        """
        return widened(self._disk.get(self._key(sample.image_sha256, sample.view)) or self._encoded_again(sample))

    def by(self, base: BaseModel) -> "Embeddings":
        """The same images as another encoder sees them; its embeddings have keys of their own in the same tier."""
        if base.encoder_fingerprint == self._base.encoder_fingerprint:
            return self
        other = Embeddings(base, disk=self._disk, max_pixels=self._max_pixels)
        other._sources, other._pictures = self._sources, self._pictures
        return other

    def picture(self, sample: Sample) -> Image.Image:
        """The sample's image as large as the encoder takes it; at most 64 are kept, 3 MB each.

        Raises:
            NothingToLearn: it is gone, or has changed.
        """
        key = sample.image_sha256, sample.view
        if (picture := self._pictures.pop(key, None)) is None:
            image = self._image(self._data(sample.image_sha256), sample.view)
            height, width = self._base.frame.size_on_canvas(image.height, image.width)
            picture = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        self._pictures[key] = picture
        if len(self._pictures) > _MOST_PICTURES:
            self._pictures.popitem(last=False)
        return picture

    def ensure(self, image_sha256: str, data: bytes, *, again: Callable[[], bytes]) -> None:
        """Encode the image unless that was done before; `again` reads it, should the embedding be needed after it went.

        Raises:
            BadImage: it cannot be used.
            OSError: the tier's folder cannot be written, or the disk is full.
        """
        self._sources[image_sha256] = again
        key = self._key(image_sha256)
        if self._disk.get(key) is None:
            with self._disk.alone(key, longest_s=_OTHER_PROCESS_S):
                if self._disk.get(key) is None:
                    self._disk.put(key, self._encode(data))

    def _encoded_again(self, sample: Sample) -> Embedding:
        embedding = self._encode(self._data(sample.image_sha256), sample.view)
        with suppress(OSError):
            self._disk.put(self._key(sample.image_sha256, sample.view), embedding)
        return embedding

    def _data(self, image_sha256: str) -> bytes:
        source = self._sources.get(image_sha256)
        try:
            data = b"" if source is None else source()
        except (SamloopError, OSError):
            data = b""
        if hashlib.sha256(data).hexdigest() != image_sha256:
            raise NothingToLearn(
                f"the embedding of image {image_sha256[:12]} is gone from the cache folder, and the image is not what "
                "it was: train again"
            )
        return data

    def _encode(self, data: bytes, view: View = _AS_IT_IS) -> Embedding:
        return halved(encode(self._base, self._image(data, view)))

    def _image(self, data: bytes, view: View) -> Image.Image:
        image = open_image(data, max_pixels=self._max_pixels)
        if view.is_identity:
            return image
        return view.image(image.convert("RGB"), beyond=self._base.frame.mean_colour)

    def _key(self, image_sha256: str, view: View = _AS_IT_IS) -> EmbeddingKey:
        seen = self._base.frame.preprocessing
        if not view.is_identity:
            seen = f"{seen}/{view.name}"
        return EmbeddingKey(image_sha256, self._base.encoder_fingerprint, seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReader:
    """From an annotated task to a sample, its embedding on disk; a task that cannot be used is left out."""

    read: Callable[[AnnotatedTask], bytes]
    embeddings: Embeddings
    rules: Rules
    max_pixels: int
    exclusions: Exclusions

    def samples(self, tasks: Iterable[AnnotatedTask], *, progress: Progress) -> list[Sample]:
        """Read one task after the other, so that no more than one image is held.

        Raises:
            NotAuthorized: the first image already is refused: the key is wrong for all. A later one is left out.
        """
        found: list[Sample] = []
        for number, task in enumerate(tasks, start=1):
            try:
                sample = self._sample(task)
            except (SamloopError, OSError) as fault:
                if number == 1 and isinstance(fault, NotAuthorized):
                    raise
                self.exclusions.add("its image cannot be used", task=task.task_id, why=str(fault)[:300])
                continue
            if sample is not None:
                found.append(sample)
                progress("embedding", images=len(found), tasks=number, objects=sum(len(each.objects) for each in found))
        return found

    def _sample(self, task: AnnotatedTask) -> Sample | None:
        data = self.read(task)
        image = open_image(data, max_pixels=self.max_pixels)
        objects = tuple(
            objects_of(
                task,
                height_px=image.height,
                width_px=image.width,
                rules=self.rules,
                exclusions=self.exclusions,
            )
        )
        if not objects:
            return None
        digest = hashlib.sha256(data).hexdigest()
        self.embeddings.ensure(digest, data, again=partial(self.read, task))
        return Sample(
            image_sha256=digest,
            height_px=image.height,
            width_px=image.width,
            objects=objects,
            picture=picture_hash(image),
            is_ground_truth=task.is_ground_truth,
            task_id=task.task_id,
            image_uri=task.image_uri,
        )


def assemble(samples: Sequence[Sample], *, share: float, exclusions: Exclusions, most_folds: int = 7) -> Dataset:
    """Check that there is something to learn, and put every sample on its side; see split.split_images.

    Raises:
        NothingToLearn: fewer than two different images with an object.
    """
    split = split_images(
        {each.image_sha256: each.picture or each.image_sha256 for each in samples}, share=share, most_folds=most_folds
    )
    if not split.folds:
        told = f"; left out: {exclusions.sentence()}" if len(exclusions) else ""
        raise NothingToLearn(_too_few(samples) + told)

    def chosen(digests: tuple[str, ...]) -> tuple[Sample, ...]:
        wanted = frozenset(digests)
        return tuple(each for each in samples if each.image_sha256 in wanted)

    folds = tuple((chosen(fold.train), chosen(fold.held_out)) for fold in split.folds)
    return Dataset(
        train=chosen(split.train),
        held_out=tuple(sample for _, held_out in folds for sample in held_out),
        folds=folds,
        split=split,
        digest=data_digest(samples),
    )


def data_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over every image, whether it is ground truth, and its objects, in whatever order they came.

    Whatever a training sees of the annotations changes it: a mask or a label that was edited; an object, an annotation
    or a task that was added or deleted; a mark as ground truth.
    """
    lines = sorted(
        json.dumps(
            [
                sample.image_sha256,
                sample.is_ground_truth,
                each.label,
                each.y0_px,
                each.x0_px,
                *each.crop_shape,
                hashlib.sha256(each.packed.tobytes()).hexdigest(),
            ]
        )
        for sample in samples
        for each in sample.objects
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _too_few(samples: Sequence[Sample]) -> str:
    """Why there is nothing to learn, and what to do."""
    needed = "a training needs at least two different images with a brush, polygon or other mask on each"
    if not samples:
        return f"no usable image: {needed}, one to learn from and one to measure on"
    if len(samples) == 1:
        return f"1 usable image: {needed}, one to learn from and one to measure on: annotate another"
    return f"all {len(samples)} usable images are the same file: {needed}: annotate others"
