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
        "train a project automatically after so many new, changed or deleted annotations; a number that a project has "
        "of its own (`samloop connect --train-after`, or its overview page) overrides this; 0: never",
        default=0,
    )
    quiet_seconds: Annotated[float, number(bounds.QUIET_SECONDS)] = setting(
        "SAMLOOP_TRAIN_QUIET_SECONDS",
        "with SAMLOOP_TRAIN_AFTER: train once no annotation has changed for so long, seconds",
        default=30.0,
    )

    annotators: Annotated[str, one_of(*bounds.ANNOTATORS)] = setting(
        "SAMLOOP_ANNOTATORS",
        "annotations of a task to learn from; latest: the newest one, ground truth before others; majority: a vote of "
        "all masks",
        default="latest",
    )
    rectangle_masks: Annotated[bool, flag()] = setting(
        "SAMLOOP_RECTANGLE_MASKS", "learn from rectangles as if they were masks", default=False
    )
    merged_regions: Annotated[str, one_of(*bounds.MERGED_REGIONS)] = setting(
        "SAMLOOP_MERGED_REGIONS",
        "what to learn from in projects whose regions mostly hold several objects; divide: every part of a region is "
        "an object; keep: the whole region is one object, such as a fence behind a post",
        default="divide",
    )
    method: Annotated[str, one_of(*bounds.METHODS)] = setting(
        "SAMLOOP_METHOD",
        "weights that a training changes; decoder: the mask decoder; lora, conv-lora: also an adapter in the encoder; "
        "auto: lora on a GPU if SAMLOOP_TRAIN_SECONDS is at least 300, else decoder",
        default="auto",
    )
    start: Annotated[str, one_of(*bounds.STARTS)] = setting(
        "SAMLOOP_START",
        "weights that a training begins with: the base model's, or the served version's (the base's if that version "
        "has learnt from a held-out image); either way the training learns from all annotations",
        default="base",
    )
    losses: Annotated[str, one_of(*bounds.LOSSES)] = setting(
        "SAMLOOP_LOSSES",
        "losses for masks; bce-dice: cross-entropy and Dice, for few images; focal-dice: SAM's own, focal and Dice at "
        "20 : 1; structure: cross-entropy and IoU with more weight on edges",
        default="bce-dice",
    )
    head: Annotated[str, one_of(*bounds.HEADS)] = setting(
        "SAMLOOP_HEAD",
        "what a training makes; promptable: the decoder for prompts; semantic: also a semantic head, which "
        "pre-annotates batches label by label",
        default="semantic",
    )
    unlabelled: Annotated[str, one_of(*bounds.UNLABELLED)] = setting(
        "SAMLOOP_UNLABELLED",
        "how to treat pixels without annotation, for the semantic head and for base models that score absence; "
        "background: as empty, which is right where images are annotated in full; unknown: pixels far from every "
        "annotated object teach nothing, for images on which some objects are not annotated",
        default="background",
    )
    preset: Annotated[str, one_of(*bounds.PRESETS)] = setting(
        "SAMLOOP_PRESET",
        "device whose memory a training's steps have to fit; auto: this machine's GPU, or cpu without one",
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
        "number of parts into which a step's images are divided, for less memory and the same result; absent: the "
        "preset's number",
        default=None,
    )
    epochs: Annotated[int, integer(bounds.EPOCHS)] = setting("SAMLOOP_EPOCHS", "most epochs per training", default=200)
    seconds: Annotated[float, number(bounds.TRAINING_SECONDS)] = setting(
        "SAMLOOP_TRAIN_SECONDS",
        "longest time for which a training learns, seconds, with the encoding of further views; encoding the images "
        "themselves and measuring masks take time in addition",
        default=600.0,
    )
    first_seconds: Annotated[float, number(bounds.FIRST_SECONDS)] = setting(
        "SAMLOOP_FIRST_SECONDS",
        "longest time for the short training that gives a new project a version before the long training ends, "
        "seconds; 0: no short training",
        default=60.0,
    )
    views: Annotated[int | None, integer(bounds.VIEWS)] = setting(
        "SAMLOOP_VIEWS",
        "number of views of every image to learn from: as it is, mirrored, turned, nearer or farther; every view is "
        "encoded once; absent: a view for every eight passes over the images, so more where there are few images, but "
        "only one where a CPU encodes by a larger base than mobile-sam",
        default=None,
    )
    tiles: Annotated[str, one_of(*bounds.TILES)] = setting(
        "SAMLOOP_TILES",
        "whether versions answer clicks and boxes on small objects in magnified tiles of the image; auto: in projects "
        "where many objects are shorter than 8 % of their image, and tiles measurably help; an image has four tiles, "
        "and nine finer ones for objects shorter than 4 %; a tile is encoded when a prompt first needs it",
        default="auto",
    )
    replay: Annotated[float, number(bounds.REPLAY)] = setting(
        "SAMLOOP_REPLAY",
        "share of a training's steps that repeat the base model's masks on unrelated photographs, against forgetting",
        default=0.0,
    )
    forgetting: Annotated[bool, flag()] = setting(
        "SAMLOOP_FORGETTING",
        "after a training, measure on unrelated photographs how much it forgot",
        default=True,
    )
    outside: Annotated[str, one_of(*bounds.OUTSIDE)] = setting(
        "SAMLOOP_OUTSIDE",
        "what answers on images that look unlike everything the project has learnt from; base: the base model, which "
        "has forgotten nothing; trained: the trained version",
        default="base",
    )
    save_seconds: Annotated[float, number(Bounds(0, 3600))] = setting(
        "SAMLOOP_SAVE_SECONDS",
        "how often a training saves its progress, seconds; after a kill it continues from there; 0: never",
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
        "number of batches that a refresh requests at the same time; set it to the number of servers behind "
        "SAMLOOP_BACKEND_URL",
        default=1,
    )
    keep_predictions: Annotated[int, integer(Bounds(0, 1000))] = setting(
        "SAMLOOP_KEEP_PREDICTIONS",
        "number of versions whose predictions stay on untouched tasks; a refresh deletes those of older versions; 0: "
        "all stay",
        default=3,
    )
    flip: Annotated[bool, flag()] = setting(
        "SAMLOOP_FLIP",
        "after a refresh, make Label Studio show the new version's predictions (the project's `model_version`)",
        default=True,
    )
