"""Answers clicks: one task in, one prediction out; no HTTP, no globals.

A request keeps the snapshot it began with, so that its masks, its `meta.model_version` and its prediction's
`model_version` are of one version even if a swap happens meanwhile.
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
from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, PredictedMask
from backend.sam.refine import Crop, refine_mask
from backend.serving.answers import PlacedMask, draw_prediction
from backend.serving.machine import Machine
from backend.serving.portions import decode_by_portions
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority, Traffic


class Observer(Protocol):
    """Hears of clicks: metrics, in production."""

    def predicted(self, *, regions: int, seconds: float) -> None:
        """A click was answered with so many regions, in so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """Turns what an annotator points at into a prediction. Safe for any number of threads.

    Attributes:
        machine: encodes and decodes.
        traffic: lets other work make way while a click is being answered.
        observer: hears of every click.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's (image px).
        specks_px: islands and holes of fewer pixels of the image are left out of masks.
        refines: whether small objects on large images are looked at twice.
    """

    machine: Machine
    traffic: Traffic
    observer: Observer
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX
    specks_px: int = 0
    refines: bool = False

    def answer(self, image: TaskImage, context: Context, *, snapshot: Snapshot, until_s: float) -> Prediction:
        """The prediction for what an annotator points at: a mask for every object, as the project's controls draw it.

        Until it is there, other work makes way.

        Args:
            image: the task on the annotator's screen.
            context: the request's `params.context`: the regions that are prompts.
            snapshot: what the project is served with.
            until_s: when nobody waits for it any more (monotonic).

        Raises:
            BadInput: the prompts, the task or the labelling config cannot be used, or there are more prompts than masks
                of that size can be drawn in time.
            Upstream: the image cannot be had.
            Busy: too many ask at once.
        """
        began_s = time.perf_counter()
        with self.traffic.click():
            clicked = find_clicked_images(image, context)
            for part, _ in clicked:
                # Before the image is fetched: a project that can show no mask hears so at once.
                output_control(part.config, label=None)
            decoders = [
                (_Decoder(self.machine, image=part, snapshot=snapshot, until_s=until_s), here) for part, here in clicked
            ]
            placed = chain.from_iterable(self._place_masks(*pair) for pair in decoders)  # drawn one by one
            answer = draw_prediction(
                placed,
                model_version=snapshot.version,
                polygon_tolerance_px=self.polygon_tolerance_px,
                specks_px=self.specks_px,
                is_interactive=True,
            )
        self.observer.predicted(regions=len(answer["result"]), seconds=time.perf_counter() - began_s)
        return answer

    def _place_masks(self, project: "_Decoder", context: Context) -> Iterator[PlacedMask]:
        embedding, config = project.embed(), project.image.config
        decoder = project.choose_for(embedding)
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        prompts = prompts_from_context(context, config=config, task=decoder.image.task, **size)
        outputs = [output_of(prompt, config) for prompt in prompts]
        masks = decode_by_portions(embedding, [prompt.prompt for prompt in prompts], decode=decoder.decode)
        frame = decoder.snapshot.predictor.base.frame
        for prompt, output, first in zip(prompts, outputs, masks, strict=True):
            mask = first
            if self.refines:
                mask = refine_mask(first, prompt.prompt, predictor=decoder, frame=frame, encode_crop=decoder.embed)
            yield PlacedMask(output, mask, prompt.prompt.clicks)


def find_clicked_images(image: TaskImage, context: Context) -> list[tuple[TaskImage, Context]]:
    """The images of the task that something points at, with the prompts on them; of one image all of the context."""
    parts = image.parts()
    if len(parts) < 2 and parts[0].config.place.page is None:
        return [(parts[0], context)]
    places = [part.config.place for part in parts]
    prompts = [(part, results_at(context.get("result"), part.config.place, places=places)) for part in parts]
    clicked: list[tuple[TaskImage, Context]] = [
        (part, {**context, "result": results}) for part, results in prompts if results
    ]
    return clicked or [(parts[0], {**context, "result": []})]


@dataclass(frozen=True, slots=True)
class _Decoder:
    """One click's encodes and decodes, which take their turns before all others."""

    machine: Machine
    image: TaskImage = field(kw_only=True)
    snapshot: Snapshot = field(kw_only=True)
    until_s: float = field(kw_only=True)

    def choose_for(self, embedding: Embedding) -> "_Decoder":
        """The same, with what answers the image of this embedding, and every crop of it."""
        suited = self.snapshot.predictor.choose_for(embedding)
        return replace(self, snapshot=replace(self.snapshot, predictor=suited))

    def embed(self, crop: Crop | None = None) -> Embedding:
        """The embedding of the task's image, or of a part of it (image px)."""
        return self.machine.embed(
            self.image, snapshot=self.snapshot, priority=Priority.CLICK, until_s=self.until_s, crop=crop
        )

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """One mask a prompt, in their order."""

        def work() -> tuple[PredictedMask, ...]:
            return self.snapshot.predictor.decode(embedding, prompts)

        return self.machine.decode(work, priority=Priority.CLICK, until_s=self.until_s, owner=self.image.project_id)
