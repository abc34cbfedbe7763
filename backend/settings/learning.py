"""How a project's model learns, and what is done with a better version."""

from typing import Annotated

from backend.settings import bounds
from backend.settings.bounds import Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import flag, integer, number, one_of


class TrainingSettings(SettingsGroup):
    """When a training begins, with what, what it changes, and when it ends."""

    train_after: Annotated[int, integer(bounds.TRAIN_AFTER)] = setting(
        "SAMLOOP_TRAIN_AFTER",
        "train by itself after so many new, changed or deleted annotations of a project, where the project has no "
        "number of its own (`samloop connect --train-after`, or the overview); 0: never",
        default=0,
    )
    quiet_seconds: Annotated[float, number(bounds.QUIET_SECONDS)] = setting(
        "SAMLOOP_TRAIN_QUIET_SECONDS",
        "and only once nothing has changed for so many seconds",
        default=30.0,
    )

    annotators: Annotated[str, one_of(*bounds.ANNOTATORS)] = setting(
        "SAMLOOP_ANNOTATORS",
        "whose annotation of a task is learnt from: the latest (ground truth first), or a majority vote of all masks",
        default="latest",
    )
    rectangle_masks: Annotated[bool, flag()] = setting(
        "SAMLOOP_RECTANGLE_MASKS", "learn from rectangles as if they were masks", default=False
    )
    merged_regions: Annotated[str, one_of(*bounds.MERGED_REGIONS)] = setting(
        "SAMLOOP_MERGED_REGIONS",
        "where people paint all objects of a label into one region: divide them into their parts and learn from "
        "those as objects, or keep regions whole (a fence behind a post is one object)",
        default="divide",
    )
    method: Annotated[str, one_of(*bounds.METHODS)] = setting(
        "SAMLOOP_METHOD",
        "what training changes: the mask decoder alone, or with it an adapter in the encoder; auto: `lora` on a GPU "
        "that has five minutes for it, else `decoder`",
        default="auto",
    )
    start: Annotated[str, one_of(*bounds.STARTS)] = setting(
        "SAMLOOP_START",
        "whose weights a training begins with; either way it learns from all annotations, and it begins with the "
        "base's where the served version has learnt from an image that is held out",
        default="base",
    )
    losses: Annotated[str, one_of(*bounds.LOSSES)] = setting(
        "SAMLOOP_LOSSES",
        "what masks are trained by: cross-entropy and Dice, for few images; SAM's focal 20 : Dice 1; or cross-entropy "
        "and IoU that weigh edges more",
        default="bce-dice",
    )
    head: Annotated[str, one_of(*bounds.HEADS)] = setting(
        "SAMLOOP_HEAD",
        "what a project's training makes beside the decoder that obeys prompts: a semantic head, which pre-annotates "
        "batches label by label, or nothing",
        default="semantic",
    )
    unlabelled: Annotated[str, one_of(*bounds.UNLABELLED)] = setting(
        "SAMLOOP_UNLABELLED",
        "for the semantic head, what nobody drew on: background, if images are annotated in full; unknown, far from "
        "every object, if they are not",
        default="background",
    )
    preset: Annotated[str, one_of(*bounds.PRESETS)] = setting(
        "SAMLOOP_PRESET",
        "how large a training's steps are, by what the device holds; auto: by the GPU's memory, `cpu` without a GPU",
        default="auto",
    )
    objects_per_step: Annotated[int | None, integer(bounds.OBJECTS_PER_STEP)] = setting(
        "SAMLOOP_OBJECTS_PER_STEP", "objects of an image in a step; absent: the preset's", default=None
    )
    images_per_step: Annotated[int | None, integer(bounds.IMAGES_PER_STEP)] = setting(
        "SAMLOOP_IMAGES_PER_STEP", "images of a training's step; absent: the preset's", default=None
    )
    accumulate: Annotated[int | None, integer(bounds.IMAGES_PER_STEP)] = setting(
        "SAMLOOP_ACCUMULATE",
        "parts in which a step's images are done, for less memory and the same result; absent: the preset's",
        default=None,
    )
    epochs: Annotated[int, integer(bounds.EPOCHS)] = setting("SAMLOOP_EPOCHS", "most epochs of a training", default=200)
    seconds: Annotated[float, number(bounds.TRAINING_SECONDS)] = setting(
        "SAMLOOP_TRAIN_SECONDS", "most seconds of a training", default=600.0
    )
    views: Annotated[int, integer(bounds.VIEWS)] = setting(
        "SAMLOOP_VIEWS",
        "how many views of every image are learnt from: as it is, and mirrored, turned, nearer or farther; every view "
        "is encoded once",
        default=1,
    )
    replay: Annotated[float, number(bounds.REPLAY)] = setting(
        "SAMLOOP_REPLAY",
        "share of a training's steps on unrelated photographs, drawn as the base draws them, so that less is "
        "forgotten; they come with scikit-image (the extra `demo`)",
        default=0.0,
    )
    forgetting: Annotated[bool, flag()] = setting(
        "SAMLOOP_FORGETTING",
        "after a training, measure on unrelated photographs what it forgot; they come with scikit-image "
        "(the extra `demo`)",
        default=True,
    )
    outside: Annotated[str, one_of(*bounds.OUTSIDE)] = setting(
        "SAMLOOP_OUTSIDE",
        "what answers images that look unlike all that a project has learnt from: the base, so that nothing is "
        "forgotten there, or the trained decoder as everywhere else; the base takes scikit-image (the extra `demo`) "
        "and the method `decoder`",
        default="base",
    )
    save_seconds: Annotated[float, number(Bounds(0, 3600))] = setting(
        "SAMLOOP_SAVE_SECONDS",
        "seconds after which a training writes down where it is, so that after a kill it goes on from there; 0: never",
        default=10.0,
    )


class PredictionsSettings(SettingsGroup):
    """What a refresh does in Label Studio once another version is served."""

    refresh: Annotated[bool, flag()] = setting(
        "SAMLOOP_REFRESH",
        "after every promotion and rollback, pre-annotate all tasks without annotation or draft anew",
        default=True,
    )
    refresh_rate: Annotated[float, number(Bounds(0, 10_000))] = setting(
        "SAMLOOP_REFRESH_RATE", "most tasks a second of a refresh; 0: no limit", default=20.0
    )
    keep_predictions: Annotated[int, integer(Bounds(0, 1000))] = setting(
        "SAMLOOP_KEEP_PREDICTIONS",
        "samloop's versions whose predictions a refresh keeps on untouched tasks; it deletes older ones; 0: deletes "
        "none",
        default=3,
    )
    flip: Annotated[bool, flag()] = setting(
        "SAMLOOP_FLIP",
        "end a refresh with Label Studio showing the new version's predictions (the project's `model_version`)",
        default=True,
    )
