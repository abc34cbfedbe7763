"""What a person reads while a training runs: one bar on a terminal, lines anywhere else."""

import io
import re

from rich.console import Console

from backend.cli.learning.progress import show_progress

TABLE = "label    objects\nNucleus      387"


def test_a_pipe_gets_a_line_a_step_and_a_table_below_the_line_of_its_phase() -> None:
    file = io.StringIO()
    with show_progress(Console(file=file)) as progress:
        progress("embedding", images=1, tasks=1, objects=10)
        progress("embedding", images=2, tasks=2, objects=20)
        progress("checking", images=40, table=TABLE)
        progress("training", loss=0.25, learning_rate=3e-5)
    assert file.getvalue().splitlines() == [
        "embedding   1 image, 1 task, 10 objects",
        "embedding   2 images, 2 tasks, 20 objects",
        "checking    40 images",
        "label    objects",
        "Nucleus      387",
        "training    loss 0.250, learning rate 3e-05",
    ]


def test_a_terminal_gets_one_bar_with_the_stage_its_share_and_the_time_left() -> None:
    file = io.StringIO()
    with show_progress(Console(file=file, force_terminal=True, width=160, color_system=None)) as progress:
        progress("pulling", tasks=40)
        progress("embedding", images=9, tasks=10, objects=90)
        progress("training", epoch=1, epochs=3, step=2, loss=0.25, learning_rate=3e-5, share=0.5, left_s=90.0)
        progress("training", head="semantic", step=5, steps=20, loss=0.5, share=0.75, left_s=30.0)
        progress("evaluating", model="base", done=3, total=6)
    written = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    for stage, words in (
        ("Embedding the images", "25%, 9 images, 90 objects"),
        ("Learning masks from prompts", "50%, epoch 1 of 3, loss 0.250, 2 min left"),
        ("Learning masks without prompts (semantic head)", "75%, step 5 of 20, loss 0.500, 30 s left"),
        ("Measuring on held-out images", "50%, base, 3 of 6"),
    ):
        assert re.search(rf"{re.escape(stage)} *[^A-Za-z0-9]* *{re.escape(words)}", written), stage
    assert written.count("\n") == 1, "one line, drawn anew, and left at the end"


def test_a_table_of_the_data_stays_above_the_bar() -> None:
    file = io.StringIO()
    with show_progress(Console(file=file, force_terminal=True, width=160, color_system=None)) as progress:
        progress("checking", images=40, table=TABLE)
    assert "label    objects\nNucleus      387\n" in file.getvalue()
