"""Turns images into embeddings, and prompts into masks.

Nothing here remembers an image: `decode` takes everything that it needs, so any number of threads may share a
predictor. The model is that of Kirillov et al., "Segment Anything" (ICCV 2023); the sections and appendices cited below
are that paper's.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from backend.masks.crop import Crop
from backend.masks.prompt import Prompt
from backend.registry.calibration import Calibration
from backend.registry.checkpoint import read_manifest
from backend.sam.canvas import mask_of_logits, pixels_on_canvas
from backend.sam.closer.tiles import decode_in_tiles
from backend.sam.decoder import cells_of
from backend.sam.embeddings.domain import Domain, direction_of
from backend.sam.embeddings.embedding import Embedding
from backend.sam.family import Decoded, DecoderInputs, MaskDecoder, Reached
from backend.sam.layers.graphs import Graphs
from backend.sam.layers.on_device import copy_to_host, masks_on_device, pixels_on_device
from backend.sam.loading import BaseModel, decoder_of, find_trained, with_adapter
from backend.sam.mask_prompt import with_box
from backend.sam.policy import ClickPolicy, consider, policy_of
from backend.sam.predicted import Candidate, Decodes, PredictedMask
from backend.sam.prompts import PromptTensors, group_prompts, prompt_tensors
from backend.sam.scoring import expect_iou, stabilities
from backend.sam.semantic.head import SemanticHead

__all__ = [
    "Candidate",
    "Decodes",
    "Embedding",
    "Outside",
    "PredictedMask",
    "Predictor",
    "PromptTensors",
    "base_predictor",
    "encode",
    "predictor_of",
    "prompt_tensors",
]

# The decoder takes about 40 MB for a prompt. On a CPU, four prompts at a time take a quarter less time than sixteen,
# whose maps are so large that malloc fetches them from the kernel and returns them in every pass.
_PROMPTS_AT_ONCE = {"cpu": 4}
_PROMPTS_AT_ONCE_ELSEWHERE = 32


def base_predictor(base: BaseModel) -> "Predictor":
    """As `predictor_of`, for the base model, with a copy of its decoder."""
    return Predictor(
        base, decoder_of(base, None), version=base.name, calibration=base.calibration, semantic=base.semantic
    )


def predictor_of(
    base: BaseModel, folder: Path, *, version: str | None = None, plain: "Predictor | None" = None
) -> "Predictor":
    """Return a predictor that serves a checkpoint: its decoder, and its adapter, semantic head and domain if any.

    Args:
        base: the base that the checkpoint was trained on.
        folder: the checkpoint's folder.
        version: the predictor's name; None for the version in the manifest.
        plain: a predictor that serves the base, if there is one already. It answers images outside the checkpoint's
            domain.

    Returns:
        A predictor. Its `base` has the adapter: encode images with that base.

    Raises:
        NotFound, Unavailable, BadCheckpoint: as `loading.find_trained` does.
    """
    manifest, trained = read_manifest(folder), find_trained(base, folder)
    return Predictor(
        base if trained.adapter is None else with_adapter(base, trained.adapter),
        trained.decoder,
        version=version or manifest.version,
        calibration=manifest.metrics.calibration,
        semantic=trained.semantic if trained.serves_semantic else None,
        click_policy=policy_of(manifest.metrics.click_policy),
        outside=None if trained.domain is None else Outside(trained.domain, plain or base_predictor(base)),
        magnification=manifest.metrics.magnification,
    )


def encode(base: BaseModel, image: Image.Image, *, crop: Crop | None = None) -> Embedding:
    """Run the image encoder (section 3, "Image encoder").

    Args:
        base: has the encoder and the frame.
        image: upright; of any mode that converts to RGB.
        crop: the part of the image to encode as an image of its own, in image px; None for the whole image.

    Returns:
        Maps in float32 on the base's device, channels last in memory, without a gradient; a training may use them.
    """
    image = image if crop is None else image.crop(crop.corners_px)
    # The pixels get the dtype of the first layer, which may be finer than that of the other layers.
    dtype = next(base.model.vision_encoder.parameters()).dtype
    if base.device.type == "cpu":
        pixels = pixels_on_canvas(image, frame=base.frame).to(dtype)
    else:
        pixels = pixels_on_device(image, frame=base.frame, device=base.device).to(dtype)
    # Not inference_mode: a training step refuses its tensors, and trainings use these from the cache.
    with torch.no_grad():
        maps = base.graphs.run("encoder", partial(base.family.encode, base.model.vision_encoder), pixels)
    # Channels last, as the decoder takes them, whatever the encoder's layout.
    features, *finer = (values.float().contiguous(memory_format=torch.channels_last) for values in maps)
    return Embedding(features=features, height_px=image.height, width_px=image.width, finer=tuple(finer))


@dataclass(frozen=True, slots=True)
class Outside:
    """The predictor that answers images outside a domain, instead of the predictor that learnt from the domain."""

    domain: Domain
    predictor: "Predictor" = field(repr=False)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A base's prompt encoder with one decoder. Stateless: any number of threads may decode at once.

    Attributes:
        base: has the encoder that the decoder belongs to; embeddings must come from that encoder.
        decoder: computes in the base's dtype; for bfloat16 it is a copy of the decoder passed in.
        version: names the predictor in predictions and logs.
        calibration: maps the decoder's predicted IoUs to measured IoUs; None if nobody measured them.
        semantic: the head that pre-annotates batches; None if no head may be served.
        click_policy: chooses which of SAM's masks answers a lone click.
        outside: answers images unlike those learnt from; None if the decoder answers all images.
        magnification: of the tiles in which prompts are answered (`closer.tiles`); None: in the whole image.
    """

    base: BaseModel
    decoder: MaskDecoder = field(repr=False)
    version: str = field(kw_only=True)
    calibration: Calibration | None = field(default=None, kw_only=True, repr=False)
    semantic: SemanticHead | None = field(default=None, kw_only=True, repr=False)
    click_policy: ClickPolicy = field(default=ClickPolicy.BY_CONTEXT, kw_only=True)
    outside: Outside | None = field(default=None, kw_only=True)
    magnification: float | None = field(default=None, kw_only=True)
    _positions: Float[Tensor, "1 cells c"] = field(init=False, repr=False)
    _graphs: Graphs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (dtype := self.base.encoder_dtype) != torch.float32:
            object.__setattr__(self, "decoder", copy.deepcopy(self.decoder).to(dtype))
        object.__setattr__(self, "_positions", cells_of(self.base.image_positions, dtype))
        object.__setattr__(self, "_graphs", Graphs(self.base.device))

    @property
    def trained(self) -> "Predictor":
        """This predictor without `outside`: its own decoder answers all images. Shares the weights."""
        if self.outside is None:
            return self
        twin = copy.copy(self)
        object.__setattr__(twin, "outside", None)
        return twin

    def choose_for(self, embedding: Embedding) -> "Predictor":
        """Choose the predictor that answers this image and all crops of it.

        A caller that decodes calls `suit` instead, for the embedding that belongs to this predictor.

        Args:
            embedding: of the whole image, by the encoder of `base`.

        Returns:
            `trained`, or the base's predictor if the image lies outside the domain.
        """
        if self.outside is None or self.outside.domain.holds(direction_of(embedding, frame=self.base.frame)):
            return self.trained
        return self.outside.predictor

    def suit(self, embedding: Embedding) -> "tuple[Predictor, Embedding]":
        """Choose the predictor that answers this image, and return it with the embedding that it decodes.

        `decode` calls this by itself. A caller of `candidates` and `masks_of` calls it once, for both.

        Args:
            embedding: of the whole image, by the encoder of `base`.

        Returns:
            What `choose_for` returns, and the image's embedding by that predictor's encoder: `embedding` itself, or, if
            the encoder has an adapter and the base answers, what its `by_base` returns.

        Raises:
            ValueError: the base answers, but the embedding has no `by_base`.
        """
        predictor = self.choose_for(embedding)
        if predictor.base.encoder_fingerprint == self.base.encoder_fingerprint:
            return predictor, embedding
        if embedding.by_base is None:
            raise ValueError(f"{self.version} lets the base answer this image, whose embedding lacks `by_base`")
        return predictor, embedding.by_base()

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """Answer prompts for one image, every prompt as if it were alone.

        `policy` chooses which of SAM's four masks is the answer; `scoring` explains the score. A prompt with a mask
        and no box gets the box around the mask: `mask_prompt.with_box`.

        Args:
            embedding: of the image, by the encoder of `base`. If it has `encode_tile`, and this predictor has a
                magnification, tiles of the image answer. With an adapter and a domain it needs `by_base`.
            prompts: in image px; may be empty.

        Returns:
            A mask for every prompt, in the order of the prompts and in the frame of the upright image.

        Raises:
            BadInput: a prompt is empty, or has a mask of another size than the image.
        """
        suited, embedding = self.suit(embedding)
        if suited.magnification is None or embedding.encode_tile is None:
            return suited.decode_whole(embedding, prompts)
        return decode_in_tiles(
            embedding,
            prompts,
            magnification=suited.magnification,
            decode=suited.decode_whole,
            encode_tile=embedding.encode_tile,
        )

    def decode_whole(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """As `decode`, but always by this decoder, and from this embedding alone."""
        return self.masks_of(self.answers(embedding, prompts), embedding)

    def answers(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[Candidate, ...]:
        """Answer prompts as `decode` does, but always by this decoder, and in the frame of the grid.

        Args:
            embedding: of the image, by the encoder of `base`.
            prompts: in image px; may be empty.

        Returns:
            A candidate for every prompt, in the order of the prompts.

        Raises:
            BadInput: as `decode` does.
        """
        rows, columns = self.base.frame.grid_reached(embedding.height_px, embedding.width_px)
        candidates = self.candidates(embedding, prompts, which=consider)
        readings = [(single, small, large) for single, small, large in (some for some in candidates if len(some) > 1)]
        takes_small = iter(self.click_policy.takes_small(readings, rows=rows, columns=columns))
        return tuple(some[int(len(some) > 1 and next(takes_small))] for some in candidates)

    def candidates(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, which: Callable[[Prompt], Sequence[int]]
    ) -> tuple[tuple[Candidate, ...], ...]:
        """Decode prompts by this decoder to candidates, in the frame of the grid.

        Args:
            embedding: of the image, by the encoder of `base`.
            prompts: in image px; may be empty.
            which: returns the numbers of the masks to take for a prompt: 0 for the single mask, 1 to 3 for the small,
                the middle and the large reading.

        Returns:
            For every prompt, in order, a candidate for every number, in the order of the numbers.

        Raises:
            BadInput: as `decode` does.
        """
        frame, size = self.base.frame, {"height_px": embedding.height_px, "width_px": embedding.width_px}
        complete = [with_box(prompt) for prompt in prompts]
        candidates: dict[int, tuple[Candidate, ...]] = {}
        # On an accelerator the whole grid takes little longer, and every size of image would need a graph of its own.
        reached = frame.cells_read(embedding.features.shape[-1], **size) if self.base.device.type == "cpu" else None
        at_once = _PROMPTS_AT_ONCE.get(self.base.device.type, _PROMPTS_AT_ONCE_ELSEWHERE)
        with torch.inference_mode():
            for indices in group_prompts(complete, most=at_once):
                tensors = prompt_tensors([complete[i] for i in indices], embedding, frame=frame)
                decoded = self._decode(embedding, tensors, reached=reached)
                logits = decoded.hide_absent()
                # A copy of the wanted masks alone, so that the others are freed with the chunk.
                asked = [(row, number) for row, index in enumerate(indices) for number in which(prompts[index])]
                chosen = tuple(torch.tensor(asked, device=logits.device).T)
                kept = logits[chosen]
                steady = stabilities(kept, frame=frame, **size)
                figures = [decoded.ious[chosen].double(), steady]
                if decoded.object_scores is not None:
                    figures.append(decoded.object_scores[chosen[0]].double())
                # All in one tensor, because every read from a device waits for it.
                made = map(Candidate, kept, *torch.stack(figures).tolist())
                for index in indices:
                    candidates[index] = tuple(islice(made, len(which(prompts[index]))))
        return tuple(candidates[index] for index in range(len(prompts)))

    def masks_of(self, candidates: Sequence[Candidate], embedding: Embedding) -> tuple[PredictedMask, ...]:
        """Enlarge candidates of one image from the grid to the image.

        Args:
            candidates: by this predictor.
            embedding: of the image, for its size.

        Returns:
            Masks in the order of the candidates, in the frame of the upright image. A score is the predicted IoU,
            calibrated if there is a calibration, times the stability.
        """
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        if not candidates:
            return ()
        with torch.inference_mode():
            if self.base.device.type == "cpu":
                made: Iterable[tuple[Bool[np.ndarray, "h w"], Float[np.ndarray, "g g"]]] = (
                    (mask_of_logits(candidate.logits, frame=self.base.frame, **size), candidate.logits.numpy())
                    for candidate in candidates
                )
            else:
                logits = torch.stack([candidate.logits for candidate in candidates])
                made = zip(masks_on_device(logits, frame=self.base.frame, **size), copy_to_host(logits), strict=True)
            return tuple(
                PredictedMask(
                    mask=mask,
                    score=expect_iou(candidate.predicted_iou, self.calibration) * candidate.stability,
                    low_res_logits=low_res_logits,
                    predicted_iou=candidate.predicted_iou,
                    object_score=candidate.object_score,
                )
                for candidate, (mask, low_res_logits) in zip(candidates, made, strict=True)
            )

    def mask_of(self, candidate: Candidate, embedding: Embedding) -> PredictedMask:
        """As `masks_of`, for one candidate."""
        (mask,) = self.masks_of((candidate,), embedding)
        return mask

    def four_masks(
        self, embedding: Embedding, prompts: PromptTensors
    ) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
        """Run prompt encoder and mask decoder (appendix A, "Lightweight mask decoder").

        Args:
            embedding: of the image, by the encoder of `base`; float16 or float32, on any device.
            prompts: n prompts with the same parts (`prompt_tensors`).

        Returns:
            Float32 on the base's device: logits in the frame of the grid, above 0 on the object; and predicted IoUs,
            which may be below 0 or above 1. Of the four, the first is the single mask; the others are the small, the
            middle and the large reading of an ambiguous prompt. All logits of an absent object are -1024.
        """
        decoded = self._decode(embedding, prompts)
        return decoded.hide_absent(), decoded.ious

    def _decode(self, embedding: Embedding, prompts: PromptTensors, *, reached: Reached = None) -> Decoded:
        """Decode as `four_masks` does, on the cells `reached`, and without hiding absent objects."""
        moved, count = prompts.to(self.base.device), prompts.count
        if self.base.device.type == "cuda":
            # A graph has a fixed number of prompts, so that only powers of two are recorded.
            moved = moved.pad_to(1 << (count - 1).bit_length())
        maps = (values.to(self.base.device) for values in embedding.maps)
        given = (moved.points, moved.labels, moved.boxes, moved.masks)
        made = self._graphs.run("decoder", partial(self._compute, reached), *given, *maps)
        return Decoded.of(values[:count] for values in made).to_float32()

    def _compute(self, reached: Reached, *given: Tensor | None) -> tuple[Tensor, ...]:
        """`Decoded.tensors` of what `Family.decode` returns; given the parts of the prompts, then the maps."""
        points, labels, boxes, masks, *maps = given
        sparse, dense = self.base.model.prompt_encoder(
            input_points=points, input_labels=labels, input_boxes=boxes, input_masks=masks
        )
        inputs = DecoderInputs(
            maps=tuple(values for values in maps if values is not None),
            positions=self._positions,
            # Masks alone have no tokens.
            sparse=dense.new_zeros(len(dense), 0, dense.shape[1]) if sparse is None else sparse[0],
            # Without masks, all cells have the same vector.
            dense=dense[:1, :, :1, :1] if masks is None else dense,
            reached=reached,
        )
        return self.base.family.decode(self.decoder, inputs).tensors
