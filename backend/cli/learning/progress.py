"""What a person reads while an export is learnt from or measured on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from backend.work.progress import name_stage, write_duration, write_progress

Listener = Callable[..., None]  # finetuner.progress.Progress, which only the fine-tuner's own code names

# What a bar has room for, of all that a listener hears.
_SHOWN = ("images", "objects", "epoch", "epochs", "step", "steps", "loss", "model", "done", "total")


@contextmanager
def show_progress(console: Console) -> Iterator[Listener]:
    """Show how far the work is until it ends: one bar on a terminal, and a line a step anywhere else."""
    if not console.is_terminal:
        yield lambda phase, **figures: _print_line(console, phase, figures)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, bar.add_task("Loading the base model", total=None, said=""))


class _Bar:
    """Turns what a training tells into one bar, which begins anew with every stage."""

    def __init__(self, bar: Progress, line: TaskID) -> None:
        self._bar, self._line, self._stage, self._tasks = bar, line, "", 0

    def __call__(self, phase: str, **figures: float | str) -> None:
        """Take notice, as finetuner.progress.Progress says."""
        self._tasks = int(figures.get("tasks") or 0) if phase == "pulling" else self._tasks
        share = _share(phase, figures, tasks=self._tasks)
        words = [
            write_progress({name: figures[name] for name in _SHOWN if name in figures and _is_told(name, figures)})
        ]
        if share is not None:
            words.insert(0, f"{share:.0%}")
        if isinstance(left_s := figures.get("left_s"), float):
            words.append(f"{write_duration(left_s)} left")
        before, self._stage = self._stage, name_stage({"phase": phase, **figures})
        self._bar.update(
            self._line,
            refresh=self._stage != before,  # a stage may be over before the next is due
            description=self._stage,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            said=", ".join(filter(None, words)),
        )
        for table in _tables(figures):
            self._bar.console.print(table, markup=False, highlight=False, soft_wrap=True)


def _share(phase: str, figures: Mapping[str, object], *, tasks: int) -> float | None:
    """The share of the stage that is over, in [0, 1]; None where nobody knows."""
    match phase, figures:
        case "embedding", {"tasks": int(number)} if tasks:
            return min(1.0, number / tasks)
        case _, {"share": float(share)}:
            return share
        case _, {"done": int(done), "total": int(total)} if total:
            return done / total
    return None


def _is_told(name: str, figures: Mapping[str, object]) -> bool:
    """A step says something only beside their number."""
    return name != "step" or "steps" in figures


def _print_line(console: Console, phase: str, figures: Mapping[str, object]) -> None:
    for text in (f"{phase:<11} {write_progress(figures)}", *_tables(figures)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


def _tables(figures: Mapping[str, object]) -> list[str]:
    return [value for value in figures.values() if isinstance(value, str) and "\n" in value]
