"""A training tells how far it is in words that people can read."""

import pytest

from backend.work.progress import name_stage, write_duration, write_figure, write_progress


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"epoch": 2, "epochs": 30, "step": 41, "loss": 0.0531}, "epoch 2 of 30, step 41, loss 0.053"),
        ({"iou_loss": 0.02, "learning_rate": 3e-05, "seconds": 48.3}, "IoU loss 0.020, learning rate 3e-05, 48 s"),
        ({"images": 14, "labels": 1, "left_out": 26, "table": "a\nb"}, "14 images, 1 label, 26 left out"),
        ({"model": "mobile-sam", "done": 3, "total": 8}, "mobile-sam, 3 of 8"),
        ({"said": "12 images to learn from", "start": "mobile-sam"}, "12 images to learn from, start mobile-sam"),
        ({"box_boundary_iou_gain": -0.0123}, "box boundary IoU gain -0.012"),
        ({"loss": None}, ""),
        ({"phase": "embedding", "images": 3}, "embedding: 3 images"),
        ({"phase": "publishing"}, "publishing"),
        ({"phase": "training", "part": "first version", "step": 3}, "training: first version, step 3"),
    ],
)
def test_figures_become_words(figures: dict[str, object], words: str) -> None:
    assert write_progress(figures) == words


@pytest.mark.parametrize(
    ("figures", "stage"),
    [
        ({"phase": "training", "loss": 0.1}, "Learning masks from prompts"),
        ({"phase": "training", "head": "semantic"}, "Learning masks without prompts (semantic head)"),
        ({"phase": "evaluating"}, "Measuring on held-out images"),
        ({"phase": "a new one"}, "a new one"),
        ({"phase": "evaluating", "part": "first version"}, "Measuring on held-out images (first version)"),
        ({}, ""),
    ],
)
def test_what_a_training_does_just_now_has_a_name(figures: dict[str, object], stage: str) -> None:
    assert name_stage(figures) == stage


@pytest.mark.parametrize("value", [3e-05, -2.4e-4, 0.00999])
def test_no_figure_is_rounded_to_nothing(value: float) -> None:
    assert float(write_figure(value)) == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1.0, "0 s"), (40.4, "40 s"), (90.0, "2 min"), (7000.0, "117 min"), (7800.0, "2 h 10 min")]
)
def test_spans_of_time_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert write_duration(seconds) == words
