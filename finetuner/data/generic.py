"""Loads photographs unrelated to the project, with the masks that the base finds in them by itself.

They ship with scikit-image, so nothing is downloaded. samloop measures on some what a training forgot (forgetting), and
a training may replay others (replay). Neither group has coins.png and brick.png, the images of the demo.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import resources
from pathlib import Path

from backend.errors import Unavailable
from backend.files.durable import write_file
from backend.images.source import open_image
from backend.masks.packed import KeptMask
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor
from finetuner.data.embeddings import Embeddings
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample

log = logging.getLogger(__name__)

MEASURED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
REPLAYED = ("clock_motion.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "moon.png", "page.png")
# 144 clicks per photograph take 2 s on two cores, once per base; more than eight objects add time and little precision.
RULES = AutomaticRules(points=12, most=8, least_area=0.001)
MOST_PIXELS = 10_000_000
_LAYOUT = 1


def photograph(name: str) -> bytes:
    """The bytes of a photograph's file.

    Raises:
        Unavailable: scikit-image, which ships it, is not installed, or lacks it.
    """
    try:
        return (resources.files("skimage") / "data" / name).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as fault:
        raise Unavailable(
            f"the unrelated photographs ship with scikit-image, which is missing here or lacks {name}: "
            "pip install scikit-image"
        ) from fault


def generic_samples(names: Sequence[str], *, plain: Predictor, embeddings: Embeddings, folder: Path) -> list[Sample]:
    """The photographs as samples, with up to eight objects that `plain`, the base, finds from a grid of clicks.

    The masks are cached in `folder` by the base's weights and precision, since they cost seconds. Photographs without
    an object are left out.

    Raises:
        Unavailable: scikit-image is not installed.
        OSError: the folder cannot be written.
    """
    samples = (_sample(name, plain=plain, embeddings=embeddings, folder=folder) for name in names)
    return [sample for sample in samples if sample.objects]


def _sample(name: str, *, plain: Predictor, embeddings: Embeddings, folder: Path) -> Sample:
    data = photograph(name)
    digest, image = hashlib.sha256(data).hexdigest(), open_image(data, max_pixels=MOST_PIXELS)
    embeddings.ensure(digest, data, again=partial(photograph, name))
    sample = Sample(image_sha256=digest, height_px=image.height, width_px=image.width, objects=(), image_uri=name)
    path = folder / f"{_key(digest, plain.base)}.json"
    masks = _read_masks(path)
    if masks is None:
        answers = automatic_masks(plain, embeddings(sample), rules=RULES)
        masks = [KeptMask.of(predicted.mask) for predicted in answers if predicted.mask.any()]
        _write_masks(masks, path)
    whole = (mask.window(0, 0, height_px=image.height, width_px=image.width) for mask in masks)
    return replace(sample, objects=tuple(LabelledMask.of(mask, label=None) for mask in whole))


def _key(image_sha256: str, base: BaseModel) -> str:
    return key_of([image_sha256, base.fingerprint, base.encoder_fingerprint, asdict(RULES)])


def key_of(facts: list[object]) -> str:
    """Return the name of a cached file of what these facts decide: the sha256 of their JSON."""
    return hashlib.sha256(json.dumps([_LAYOUT, *facts]).encode()).hexdigest()


def _read_masks(path: Path) -> list[KeptMask] | None:
    """The cached masks; None if the file is missing or damaged."""
    try:
        masks = [KeptMask.of_json(value) for value in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as fault:
        log.warning("%s is damaged: %s", path, fault, extra={"event": "generic.damaged"})
        return None
    return masks if all(mask.area_px for mask in masks) else None


def _write_masks(masks: Sequence[KeptMask], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps([mask.to_json() for mask in masks]).encode(), is_synced=False)
