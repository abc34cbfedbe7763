"""A training's progress in words: the same words for the terminal, the demo's log and the review page."""

from collections.abc import Mapping

from backend.amounts import write_amount

_COUNTED = {"images", "objects", "tasks", "labels"}  # "14 images", but "1 image"
_AFTER = {"small": "small", "medium": "medium", "large": "large", "left_out": "left out", "seconds": "s"}
_OF = {"epoch": "epochs", "step": "steps", "done": "total", "training": "trainings"}
_APART = {"share", "left_s"}  # shown beside the line; see TrainingStatus
_PLAIN = {"said", "model", "part"}
_SPELT = {"iou": "IoU"}


_STAGES = {
    "pulling": "Reading the annotations",
    "embedding": "Embedding the images",
    "checking": "Checking the data",
    "splitting": "Holding images out",
    "training": "Learning masks from prompts",
    "evaluating": "Measuring on held-out images",
    "publishing": "Storing the version",
}


def name_stage(figures: Mapping[str, object]) -> str:
    """Return a heading for what a training is doing; "" without a phase, and an unknown phase's own name."""
    phase = str(figures.get("phase") or "")
    if phase == "training" and figures.get("head") == "semantic":
        return "Learning masks without prompts (semantic head)"
    stage = _STAGES.get(phase, phase)
    return f"{stage} ({figures['part']})" if stage and "part" in figures else stage


def write_progress(figures: Mapping[str, object]) -> str:
    """Write a training's progress on one line.

    `figures` is what a listener of `finetuner.progress.Progress` receives: `{"phase": "training", "epoch": 2, "epochs":
    30, "learning_rate": 3e-5}` gives "training: epoch 2 of 30, learning rate 3e-05". Texts of several lines and missing
    figures (None) are left out.
    """
    shown = {
        name: value
        for name, value in figures.items()
        if value is not None and "\n" not in str(value) and name not in _APART
    }
    if phase := shown.pop("phase", None):
        rest = write_progress(shown)
        return f"{phase}: {rest}" if rest else str(phase)
    totals = {total for name, total in _OF.items() if name in shown and total in shown}
    return ", ".join(_write_part(name, value, shown) for name, value in shown.items() if name not in totals)


def write_duration(seconds: float) -> str:
    """Write a duration as people say it: "40 s", "5 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def write_figure(value: object) -> str:
    """Write a number with 3 decimals, or 2 significant digits below 0.01, so that no small number reads as zero."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def _write_part(name: str, value: object, figures: Mapping[str, object]) -> str:
    if name in _PLAIN:
        return str(value)
    if name in _COUNTED and isinstance(value, int):
        return write_amount(value, name[:-1])
    if name in _AFTER:
        return f"{value:.0f} s" if name == "seconds" and isinstance(value, float) else f"{value} {_AFTER[name]}"
    spelt = " ".join(_SPELT.get(word, word) for word in name.split("_"))
    if (total := figures.get(_OF.get(name, ""))) is not None:
        return f"{'' if name == 'done' else spelt + ' '}{value} of {total}"
    if name.endswith("_gain") and isinstance(value, float):
        return f"{spelt} {value:+.3f}"
    return f"{spelt} {write_figure(value)}"
