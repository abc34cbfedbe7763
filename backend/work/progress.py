"""How far a training is, in words: one wording for the terminal, the log of the demo, and the review page."""

from collections.abc import Mapping

_COUNTED = {"images", "objects", "tasks", "labels"}  # "14 images"; one of them loses its s
_AFTER = {"small": "small", "medium": "medium", "large": "large", "left_out": "left out", "seconds": "s"}
_OF = {"epoch": "epochs", "step": "steps", "done": "total", "training": "trainings"}
_APART = {"share", "left_s"}  # told beside the line, see TrainingStatus
_PLAIN = {"said", "model"}
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


def stage_name(figures: Mapping[str, object]) -> str:
    """What a training does just now, as a heading; "" where it does not tell, its own word for what has no heading."""
    phase = str(figures.get("phase") or "")
    if phase == "training" and figures.get("head") == "semantic":
        return "Learning masks without prompts (semantic head)"
    return _STAGES.get(phase, phase)


def progress_line(figures: Mapping[str, object]) -> str:
    """What a training tells of itself, on one line.

    `figures` as a listener of `finetuner.progress.Progress` hears them: `{"phase": "training", "epoch": 2, "epochs":
    30, "learning_rate": 3e-5}` gives "training: epoch 2 of 30, learning rate 3e-05". Texts of several lines are left
    out, and so are figures that a broken training no longer has (None).
    """
    shown = {
        name: value
        for name, value in figures.items()
        if value is not None and "\n" not in str(value) and name not in _APART
    }
    if phase := shown.pop("phase", None):
        rest = progress_line(shown)
        return f"{phase}: {rest}" if rest else str(phase)
    totals = {total for name, total in _OF.items() if name in shown and total in shown}
    return ", ".join(_words(name, value, shown) for name, value in shown.items() if name not in totals)


def time_words(seconds: float) -> str:
    """A span of time as people say it: "40 s", "5 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def figure(value: object) -> str:
    """A number short enough to read, and never a zero that is none: 3 decimals, or 2 significant digits below 0.01."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def _words(name: str, value: object, figures: Mapping[str, object]) -> str:
    if name in _PLAIN:
        return str(value)
    if name in _COUNTED:
        return f"{value} {name[:-1] if value == 1 else name}"
    if name in _AFTER:
        return f"{value:.0f} s" if name == "seconds" and isinstance(value, float) else f"{value} {_AFTER[name]}"
    spelt = " ".join(_SPELT.get(word, word) for word in name.split("_"))
    if (total := figures.get(_OF.get(name, ""))) is not None:
        return f"{'' if name == 'done' else spelt + ' '}{value} of {total}"
    if name.endswith("_gain") and isinstance(value, float):
        return f"{spelt} {value:+.3f}"
    return f"{spelt} {figure(value)}"
