"""Provides embeddings of samples: an image is encoded once for all trainings on this machine, and cached on disk."""

import copy
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from cachetools import LRUCache
from PIL import Image

from backend.errors import NothingToLearn, SamloopError, Unavailable
from backend.images.source import open_image
from backend.masks.crop import Crop, Tile
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings, halve, widen
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, Predictor, encode
from finetuner.data.sample import Sample
from finetuner.data.views import View
from finetuner.patience import is_passing, read_patiently

_OTHER_PROCESS_S = 60.0
_PICTURE_BYTES = 1 << 30  # 340 pictures of 1024 px
_FILE_BYTES = 1 << 28
_DEVICE_BYTES = 1 << 30  # of a GPU's memory: 512 images of SAM's
_AS_IT_IS = View()


class Embeddings:
    """Embeddings by sample, from the disk cache that the server and all trainings on this machine share.

    An image that an annotator clicked on is therefore not encoded again, and training and clicks use the same values.

    Args:
        base: provides the encoder.
        disk: the disk cache.
        max_pixels: images with more pixels are refused before they are decoded.
        picture_bytes: of resized images that stay in memory, for trainings through the encoder.
        file_bytes: of image files that stay in memory once they were read again, for the views and tiles of the image.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        disk: DiskEmbeddings,
        max_pixels: int,
        picture_bytes: int = _PICTURE_BYTES,
        file_bytes: int = _FILE_BYTES,
    ) -> None:
        self._base, self._disk, self._max_pixels = base, disk, max_pixels
        self._near = MemoryEmbeddings(_DEVICE_BYTES)
        self._plain: Embeddings | None = None
        self._sources: dict[str, Callable[[], bytes]] = {}
        self._pictures: LRUCache[tuple[str, View], Image.Image] = LRUCache(picture_bytes, getsizeof=_bytes_of)
        self._files: LRUCache[str, bytes] = LRUCache(file_bytes, getsizeof=len)

    def __call__(self, sample: Sample) -> Embedding:
        """The sample's embedding, encoded now if the cache does not have it (any more).

        It encodes tiles of the image, and the image by the base where that may have to answer (`suiting`).

        Raises:
            NothingToLearn: neither the embedding nor the unchanged image can be read.
            Unavailable: the image cannot be read at the moment.
        """
        encode_tile = partial(self._encode_tile, sample) if sample.view.is_identity else None
        by_base = None if self._plain is None else partial(self._plain, sample)
        return replace(self._find(sample), encode_tile=encode_tile, by_base=by_base)

    def _encode_tile(self, sample: Sample, tile: Tile) -> Embedding:
        return self._find(sample, crop=tile.crop(sample.height_px, sample.width_px))

    def _find(self, sample: Sample, *, crop: Crop | None = None) -> Embedding:
        key = EmbeddingKey.of(sample.image_sha256, self._base, view=sample.view.key, crop=crop)
        if (near := self._near.get(key)) is None:
            near = self._disk.get(key)
            if near is None:
                near = self._encode(self._data(sample.image_sha256), sample.view, crop=crop)
                with suppress(OSError):
                    self._disk.put(key, near)
            if self._base.device.type != "cpu":  # a processor's memory has the file's pages already
                near = near.with_maps(lambda values: values.to(self._base.device))
                self._near.put(key, near)
        return widen(near)

    def by(self, base: BaseModel) -> "Embeddings":
        """The embeddings of the same images by another base's encoder, from the same cache."""
        if base.encoder_fingerprint == self._base.encoder_fingerprint:
            return self
        other = Embeddings(base, disk=self._disk, max_pixels=self._max_pixels)
        other._sources, other._pictures, other._files = self._sources, self._pictures, self._files
        return other

    def suiting(self, predictor: Predictor) -> "Embeddings":
        """The embeddings that the predictor decodes: by its encoder, and by the base's outside of its domain."""
        own = self.by(predictor.base)
        if predictor.outside is None or (plain := self.by(predictor.outside.predictor.base)) is own:
            return own
        both = copy.copy(own)
        both._plain = plain  # noqa: SLF001 - a copy of its own
        return both

    def picture(self, sample: Sample) -> Image.Image:
        """The sample's RGB image, scaled to the size on the encoder's canvas; the last stay in memory.

        Raises:
            NothingToLearn: the image is gone, or has changed.
            Unavailable: the image cannot be read at the moment.
        """
        key = sample.image_sha256, sample.view
        if (picture := self._pictures.get(key)) is None:
            image = self._image(self._data(sample.image_sha256), sample.view)
            height, width = self._base.frame.size_on_canvas(image.height, image.width)
            picture = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            with suppress(ValueError):  # it alone exceeds the bound
                self._pictures[key] = picture
        return picture

    def ensure(self, image_sha256: str, data: bytes, *, again: Callable[[], bytes]) -> None:
        """Encode the image unless the cache has its embedding; `again` reads the image if the cache drops it later.

        Raises:
            BadImage: the image cannot be used.
            OSError: the cache folder cannot be written, or the disk is full.
        """
        self._sources[image_sha256] = again
        key = EmbeddingKey.of(image_sha256, self._base)
        if self._disk.get(key) is None:
            with self._disk.alone(key, longest_s=_OTHER_PROCESS_S):
                if self._disk.get(key) is None:
                    self._disk.put(key, self._encode(data))

    def _data(self, image_sha256: str) -> bytes:
        if (kept := self._files.get(image_sha256)) is not None:
            return kept
        source = self._sources.get(image_sha256)
        try:
            data = b"" if source is None else read_patiently(source)
        except (SamloopError, OSError) as fault:
            if is_passing(fault):
                raise Unavailable(f"image {image_sha256[:12]} cannot be read again at the moment: {fault}") from fault
            data = b""
        if hashlib.sha256(data).hexdigest() != image_sha256:
            raise NothingToLearn(
                f"the embedding of image {image_sha256[:12]} is gone from the cache folder, and the image has changed "
                "or is gone too: train again"
            )
        with suppress(ValueError):  # it alone exceeds the bound
            self._files[image_sha256] = data
        return data

    def _encode(self, data: bytes, view: View = _AS_IT_IS, *, crop: Crop | None = None) -> Embedding:
        return halve(encode(self._base, self._image(data, view), crop=crop))

    def _image(self, data: bytes, view: View) -> Image.Image:
        image = open_image(data, max_pixels=self._max_pixels)
        if view.is_identity:
            return image
        return view.image(image.convert("RGB"), beyond=self._base.frame.mean_colour)


def _bytes_of(picture: Image.Image) -> int:
    return picture.width * picture.height * len(picture.getbands())
