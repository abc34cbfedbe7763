"""Answers clicks: one task in, one prediction out; no HTTP, no globals.

A request keeps the snapshot that it began with. So its masks, their `meta.model_version` and the prediction's
`model_version` belong to one version, even if a swap happens meanwhile.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Protocol

from backend.labelstudio.controls.choice import output_control, output_of
from backend.labelstudio.controls.results import POLYGON_TOLERANCE_PX
from backend.labelstudio.payloads import Context, Prediction
from backend.labelstudio.prompts.request import prompts_from_context
from backend.labelstudio.task_data import results_at
from backend.masks.crop import Crop
from backend.masks.prompt import Prompt
from backend.sam.closer.refine import refine_mask
from backend.sam.predictor import Embedding, PredictedMask
from backend.serving.answers import PlacedMask, draw_prediction
from backend.serving.machine import Machine
from backend.serving.portions import decode_by_portions, decode_closer
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority, Traffic


class Observer(Protocol):
    """Hears of clicks; in production, the metrics."""

    def count_answer(self, *, regions: int, seconds: float) -> None:
        """Hear that a click was answered, with how many regions and in how many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """Answers an annotator's prompts with a prediction. Safe for any number of threads.

    Attributes:
        machine: encodes and decodes.
        traffic: makes other work wait while a click is being answered.
        observer: hears of every click.
        polygon_tolerance_px: how far a polygon's outline may be from the mask's, image px.
        specks_px: islands and holes smaller than this area, in image px, are left out of masks.
        refines: whether small objects on large images get a second look, if the version does not answer in tiles.
    """

    machine: Machine
    traffic: Traffic
    observer: Observer
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX
    specks_px: int = 0
    refines: bool = False

    def answer(self, image: TaskImage, context: Context, *, snapshot: Snapshot, until_s: float) -> Prediction:
        """Return a mask for every prompted object, in the shapes that the project's controls draw.

        Other work waits until the answer is complete.

        Args:
            image: the task on the annotator's screen.
            context: the request's `params.context`, whose regions are prompts.
            snapshot: the version that serves the project.
            until_s: when nobody waits for the answer any more (monotonic).

        Raises:
            BadInput: the prompts, the task or the labelling config are unusable, or there are more prompts than can be
                drawn in time.
            Upstream: the image cannot be fetched.
            Busy: too many requests wait.
        """
        began_s = time.perf_counter()
        with self.traffic.click():
            clicked = find_clicked_images(image, context)
            for part, _ in clicked:
                # Before the image is fetched: a project whose controls take no masks gets its error at once.
                output_control(part.config, label=None)
            decoders = [
                (_Decoder(self.machine, image=part, snapshot=snapshot, until_s=until_s), here) for part, here in clicked
            ]
            placed = chain.from_iterable(self._place_masks(*pair) for pair in decoders)  # one by one
            answer = draw_prediction(
                placed,
                model_version=snapshot.version,
                polygon_tolerance_px=self.polygon_tolerance_px,
                specks_px=self.specks_px,
                is_interactive=True,
            )
        self.observer.count_answer(regions=len(answer["result"]), seconds=time.perf_counter() - began_s)
        return answer

    def _place_masks(self, project: "_Decoder", context: Context) -> Iterator[PlacedMask]:
        decoder, embedding = project.suit(project.embed())
        config = decoder.image.config
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        prompts = prompts_from_context(context, config=config, task=decoder.image.task, **size)
        outputs = [output_of(prompt, config) for prompt in prompts]
        predictor = decoder.snapshot.predictor
        decode = decode_closer(decoder.decode, predictor, encode_crop=decoder.embed)
        masks = decode_by_portions(embedding, [prompt.prompt for prompt in prompts], decode=decode)
        frame, refines = predictor.base.frame, self.refines and predictor.magnification is None
        for prompt, output, first in zip(prompts, outputs, masks, strict=True):
            mask = first
            if refines:
                mask = refine_mask(first, prompt.prompt, predictor=decoder, frame=frame, encode_crop=decoder.embed)
            yield PlacedMask(output, mask, prompt.prompt.clicks)


def find_clicked_images(image: TaskImage, context: Context) -> list[tuple[TaskImage, Context]]:
    """Return the task's images that have prompts, with these prompts. A lone image gets the whole context.

    An image that the task's data lack has no prompts, but prompts on it are on no other image.
    """
    parts = image.parts()
    shown = [config.place for config in image.config.images(image.task.get("data"))]
    if len(shown) < 2 and shown[0].page is None:
        return [(parts[0], context)]
    there = [part.config.place for part in parts]
    places = [*there, *(place for place in shown if place not in there)]
    prompts = [(part, results_at(context.get("result"), part.config.place, places=places)) for part in parts]
    clicked: list[tuple[TaskImage, Context]] = [
        (part, {**context, "result": results}) for part, results in prompts if results
    ]
    return clicked or [(parts[0], {**context, "result": []})]


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Encodes and decodes for one click, ahead of all other work."""

    machine: Machine
    image: TaskImage = field(kw_only=True)
    snapshot: Snapshot = field(kw_only=True)
    until_s: float = field(kw_only=True)

    def suit(self, embedding: Embedding) -> "tuple[_Decoder, Embedding]":
        """Return a decoder with the predictor that answers this image and all crops of it, and what it decodes."""
        suited, embedding = self.snapshot.predictor.suit(embedding)
        return replace(self, snapshot=replace(self.snapshot, predictor=suited)), embedding

    def embed(self, crop: Crop | None = None) -> Embedding:
        """Embed the task's image, or a part of it (image px)."""
        return self.machine.embed(
            self.image, snapshot=self.snapshot, priority=Priority.CLICK, until_s=self.until_s, crop=crop
        )

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """Return one mask per prompt, in order."""

        def work() -> tuple[PredictedMask, ...]:
            return self.snapshot.predictor.decode(embedding, prompts)

        return self.machine.decode(work, priority=Priority.CLICK, until_s=self.until_s, owner=self.image.project_id)
