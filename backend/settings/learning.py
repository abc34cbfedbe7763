"""Settings for trainings, and for the refresh after a promotion."""

from typing import Annotated

from backend.settings import bounds
from backend.settings.bounds import Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import flag, integer, number, one_of


class TrainingSettings(SettingsGroup):
    """When trainings begin, how they learn, and when they end."""

    train_after: Annotated[int, integer(bounds.TRAIN_AFTER)] = setting(
        "SAMLOOP_TRAIN_AFTER",
        "train a project automatically after so many new, changed or deleted annotations; a project's own number "
        "(`samloop connect --train-after`, or its overview page) goes first; 0: never",
        default=0,
    )
    quiet_seconds: Annotated[float, number(bounds.QUIET_SECONDS)] = setting(
        "SAMLOOP_TRAIN_QUIET_SECONDS",
        "with SAMLOOP_TRAIN_AFTER: train once no annotation has changed for so long, seconds",
        default=30.0,
    )

    annotators: Annotated[str, one_of(*bounds.ANNOTATORS)] = setting(
        "SAMLOOP_ANNOTATORS",
        "annotations of a task to learn from: the latest one (ground truth first), or a majority vote of all masks",
        default="latest",
    )
    rectangle_masks: Annotated[bool, flag()] = setting(
        "SAMLOOP_RECTANGLE_MASKS", "learn from rectangles as if they were masks", default=False
    )
    merged_regions: Annotated[str, one_of(*bounds.MERGED_REGIONS)] = setting(
        "SAMLOOP_MERGED_REGIONS",
        "in projects whose regions mostly hold several objects: `divide` learns from the parts of a region as objects, "
        "`keep` from whole regions (a fence behind a post is one object)",
        default="divide",
    )
    method: Annotated[str, one_of(*bounds.METHODS)] = setting(
        "SAMLOOP_METHOD",
        "weights that a training changes: the mask decoder, or also an adapter in the encoder; auto: `lora` on a GPU "
        "with at least five minutes, else `decoder`",
        default="auto",
    )
    start: Annotated[str, one_of(*bounds.STARTS)] = setting(
        "SAMLOOP_START",
        "weights that a training begins with; either way it learns from all annotations; `served` falls back to the "
        "base if the served version has learnt from a held-out image",
        default="base",
    )
    losses: Annotated[str, one_of(*bounds.LOSSES)] = setting(
        "SAMLOOP_LOSSES",
        "losses for masks: cross-entropy and Dice, for few images; SAM's focal and Dice, 20 : 1; or cross-entropy and "
        "IoU with more weight on edges",
        default="bce-dice",
    )
    head: Annotated[str, one_of(*bounds.HEADS)] = setting(
        "SAMLOOP_HEAD",
        "what a training makes: `semantic` adds a semantic head, which pre-annotates batches label by label, to the "
        "decoder for prompts; `promptable` makes only the decoder",
        default="semantic",
    )
    unlabelled: Annotated[str, one_of(*bounds.UNLABELLED)] = setting(
        "SAMLOOP_UNLABELLED",
        "how to treat pixels without annotation: `background` where images are annotated in full, `unknown` (far from "
        "every object) where they are not; from `background` the semantic head learns its background, and the object "
        "score of bases that have it learns that a click there means no object",
        default="background",
    )
    preset: Annotated[str, one_of(*bounds.PRESETS)] = setting(
        "SAMLOOP_PRESET",
        "size of a training's steps, by the device's memory; auto: by the GPU's memory, `cpu` without a GPU",
        default="auto",
    )
    objects_per_step: Annotated[int | None, integer(bounds.OBJECTS_PER_STEP)] = setting(
        "SAMLOOP_OBJECTS_PER_STEP", "objects per image in a step; absent: the preset's number", default=None
    )
    images_per_step: Annotated[int | None, integer(bounds.IMAGES_PER_STEP)] = setting(
        "SAMLOOP_IMAGES_PER_STEP", "images in a step; absent: the preset's number", default=None
    )
    accumulate: Annotated[int | None, integer(bounds.IMAGES_PER_STEP)] = setting(
        "SAMLOOP_ACCUMULATE",
        "split a step's images into so many parts, for less memory and the same result; absent: the preset's number",
        default=None,
    )
    epochs: Annotated[int, integer(bounds.EPOCHS)] = setting("SAMLOOP_EPOCHS", "most epochs per training", default=200)
    seconds: Annotated[float, number(bounds.TRAINING_SECONDS)] = setting(
        "SAMLOOP_TRAIN_SECONDS", "longest time for a training, seconds", default=600.0
    )
    first_seconds: Annotated[float, number(bounds.FIRST_SECONDS)] = setting(
        "SAMLOOP_FIRST_SECONDS",
        "most seconds of the training that gives a project its first version, while the long training is still to "
        "come; 0: there is no version before the long training ends",
        default=60.0,
    )
    views: Annotated[int, integer(bounds.VIEWS)] = setting(
        "SAMLOOP_VIEWS",
        "learn from so many views of every image: as it is, mirrored, turned, nearer or farther; every view is encoded "
        "once",
        default=1,
    )
    tiles: Annotated[str, one_of(*bounds.TILES)] = setting(
        "SAMLOOP_TILES",
        "auto: where many of a project's objects are shorter than 8 % of their image, and magnified tiles of the image "
        "show them better, versions answer clicks and boxes on them in such tiles; an image has four, and nine finer "
        "ones for objects shorter than 4 %; a tile is encoded when a prompt first needs it; off: whole images answer",
        default="auto",
    )
    replay: Annotated[float, number(bounds.REPLAY)] = setting(
        "SAMLOOP_REPLAY",
        "share of a training's steps on unrelated photographs with the base model's masks, against forgetting; the "
        "photographs come with scikit-image (the extra `demo`)",
        default=0.0,
    )
    forgetting: Annotated[bool, flag()] = setting(
        "SAMLOOP_FORGETTING",
        "after a training, measure on unrelated photographs how much it forgot; the photographs come with scikit-image "
        "(the extra `demo`)",
        default=True,
    )
    outside: Annotated[str, one_of(*bounds.OUTSIDE)] = setting(
        "SAMLOOP_OUTSIDE",
        "model for images that look unlike everything the project has learnt from: the base model, which has "
        "forgotten nothing, or the trained decoder; `base` needs scikit-image (the extra `demo`) and the method "
        "`decoder`",
        default="base",
    )
    save_seconds: Annotated[float, number(Bounds(0, 3600))] = setting(
        "SAMLOOP_SAVE_SECONDS",
        "store a training's progress after so many seconds, so that it goes on from there after a kill; 0: never",
        default=10.0,
    )


class PredictionsSettings(SettingsGroup):
    """The refresh of pre-annotations once another version is served."""

    refresh: Annotated[bool, flag()] = setting(
        "SAMLOOP_REFRESH",
        "after every promotion and rollback, pre-annotate all untouched tasks again",
        default=True,
    )
    refresh_rate: Annotated[float, number(Bounds(0, 10_000))] = setting(
        "SAMLOOP_REFRESH_RATE", "most tasks per second in a refresh; 0: no limit", default=20.0
    )
    refresh_batches: Annotated[int, integer(Bounds(1, 64))] = setting(
        "SAMLOOP_REFRESH_BATCHES",
        "batches that a refresh asks for at the same time; one for every server behind SAMLOOP_BACKEND_URL",
        default=1,
    )
    keep_predictions: Annotated[int, integer(Bounds(0, 1000))] = setting(
        "SAMLOOP_KEEP_PREDICTIONS",
        "keep the predictions of so many versions on untouched tasks; a refresh deletes those of older versions; 0: "
        "keep all",
        default=3,
    )
    flip: Annotated[bool, flag()] = setting(
        "SAMLOOP_FLIP",
        "after a refresh, make Label Studio show the new version's predictions (the project's `model_version`)",
        default=True,
    )
