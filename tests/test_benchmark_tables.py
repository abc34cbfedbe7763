"""What `make results` writes is what `samloop train` and `samloop evaluate` said."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import demo_seeds, pages, trainings
from benchmarks.exports import Picture, write
from benchmarks.recipes import BLOCKS
from benchmarks.recipes import table as recipes_table
from benchmarks.results import PARTS, comparison, run
from benchmarks.summary import LINES, block, summary
from benchmarks.trainings import Bench, Trained
from PIL import Image
from safetensors.torch import save_file
from support.checkpoints import make_manifest

from backend.registry.figures import Interval
from backend.registry.metrics import CheckpointMetrics, Verdict
from backend.sam.semantic.head import PREFIX
from finetuner.data.split import rank


def _report(*, iou: float, over: float) -> dict:
    values = {"iou": iou, "dice": iou, "boundary_iou": iou / 2, "hd95_px": 3.0, "over_area": over, "under_area": 0.1}
    clicks = {str(count): iou + count / 100 for count in range(8)}
    return {
        "box": values,
        "point": values,
        "clicks": clicks,
        "semantic": None,
        "clicks_to": {"0.85": {"clicks": 2.5, "reached": 0.75}},
    }


def _trained(folder: Path, method: str, *, iou: float, promote: bool) -> Trained:
    folder.mkdir()
    trained = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    beside = {f"{PREFIX}c": torch.zeros(7), "domain.learnt": torch.zeros(9)}
    save_file(trained | beside, folder / "model.safetensors")
    moved = {"iou": [iou - 0.6, 0.01, 0.2], "boundary_iou": [0.1, 0.05, 0.15], "hd95_px": [-1, -2, 0]}
    difference = {prompt: {**moved, "over_area": [-0.2, -0.3, -0.1]} for prompt in ("box", "point")}
    report = {"base": _report(iou=0.6, over=0.5), "candidate": _report(iou=iou, over=0.3), "difference": difference}
    return Trained(method, folder, {"verdict": {"promote": promote}}, 123.4, report)


def test_every_method_stands_beside_the_base_with_its_intervals(tmp_path: Path) -> None:
    trained = [
        _trained(tmp_path / "d", "decoder", iou=0.7, promote=True),
        _trained(tmp_path / "l", "lora", iou=0.65, promote=False),
    ]
    lines = comparison(trained).splitlines()
    assert lines[0] == "|  | mobile-sam | decoder | lora |"
    assert len({line.count("|") for line in lines}) == 1
    assert "| one click, IoU | 0.600 | 0.700 (+0.100 [+0.010, +0.200]) | 0.650 (+0.050 [+0.010, +0.200]) |" in lines
    assert "| clicks to IoU .85 (at most 8) | 2.50 | 2.50 | 2.50 |" in lines
    assert "| parameters trained |  | 17 | 17 |" in lines
    assert "| seconds of training, with encoding and measuring |  | 123 | 123 |" in lines
    assert "| promoted |  | yes | no |" in lines
    assert trained[0].head_parameters == 7, "neither the semantic head's nor the domain's are part of those for prompts"


def test_a_block_is_written_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("a\n<!-- x: by hand -->\nold\n<!-- /x -->\nb\n<!-- y: by hand -->\n<!-- /y -->\n")
    pages.write_block(page, "y", "new y")
    pages.write_block(page, "x", "new x")
    pages.write_block(page, "x", "newer x")
    assert page.read_text() == (
        "a\n<!-- x: by hand -->\nnewer x\n<!-- /x -->\nb\n<!-- y: by hand -->\nnew y\n<!-- /y -->\n"
    )
    with pytest.raises(SystemExit, match=r"results\.md lacks the marks <!-- z"):
        pages.write_block(page, "z", "text")


WRITTEN = sorted(
    {
        name
        for path in Path(pages.__file__).parent.glob("*.py")
        for name in re.findall(r'write_result\("([a-z]+)"', path.read_text())
    }
    | set(PARTS)
    | set(BLOCKS)
)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_results_have_the_marks_of_every_block_that_a_benchmark_writes(name: str) -> None:
    text = pages.RESULTS.read_text()
    assert text.count(f"<!-- {name}: ") == text.count(f"<!-- /{name} -->") == 1


def test_recipes_name_every_commit_that_measured_them_once() -> None:
    rows = [["a", prompt, 0.5, 0.4] for prompt in ("point", "box")]
    shared = {
        "set": "food",
        "changes": ["decodes=600"],
        "decodes": 600,
        "domain": {"0": rows},
        "photographs": {"0": rows},
    }
    text = recipes_table([{**shared, "commit": commits} for commits in ("abc1234, def5678", "def5678")])
    assert text.splitlines()[-1].endswith("; commit abc1234, def5678.")


def test_recipes_compare_boxes_by_the_boundary_too() -> None:
    rows = {
        share: [["a", prompt, 0.5 + more, 0.4 + 2 * more] for prompt in ("point", "box")]
        for share, more in (("0", 0.0), ("1", 0.1))
    }
    result = {"set": "food", "changes": [], "decodes": 600, "domain": rows, "photographs": rows, "commit": "abc1234"}
    names, _, base, trained, *_ = recipes_table([result]).splitlines()
    place = names.split(" | ").index("box, Boundary IoU")
    assert base.split(" | ")[place] == "0.400"
    assert trained.split(" | ")[place] == "0.600 (+0.200 [+0.200, +0.200])"


SHARES = {"0": "0.7", "1": "0.6 (-0.1 [-0.2, -0.0])", "0.75, as served": "0.9 (+0.2 [+0.1, +0.3])"}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docs/results.md with the blocks `methods` and `y`, and beside it a README with a summary."""
    results, page = tmp_path / "results.md", tmp_path / "README.md"
    results.write_text("<!-- methods: by hand -->\n<!-- /methods -->\n<!-- y: by hand -->\n<!-- /y -->\n")
    page.write_text("top\n<!-- summary: by hand -->\n<!-- /summary -->\nbottom\n")
    monkeypatch.setattr(pages, "RESULTS", results)
    monkeypatch.setattr(pages, "README", page)
    return results


def test_a_result_that_is_written_changes_the_summary_in_readme_too(written: Path) -> None:
    row = "| one click, Boundary IoU | 0.500 | 0.600 (+0.100 [+0.010, +0.200]) |"
    table = f"|  | mobile-sam | decoder |\n| --- | --- | --- |\n{row}"
    pages.write_result("methods", f"{table}\n\n3 minutes in all on 2 cores (some), 4 GiB, no GPU; commit abc1234+.")
    assert written.with_name("README.md").read_text() == (
        "top\n<!-- summary: by hand -->\n"
        "| What | Before | samloop | Difference [95 %] | Commit |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| nuclei held out, one click: Boundary IoU | 0.500 | 0.600 | +0.100 [+0.010, +0.200] | abc1234+ |\n"
        "\nMeasured on 2 cores (some), 4 GiB, no GPU.\n"
        "<!-- /summary -->\nbottom\n"
    )


def test_the_summary_takes_of_several_shares_the_one_that_is_served() -> None:
    rows = "\n".join(f"| nuclei | {share} | {click} |" for share, click in SHARES.items())
    text = f"| trained on | share | one click |\n| --- | --- | --- |\n{rows}\n\nOn 2 cores (some); commit abc1234."

    told = summary(f"<!-- tiles: by hand -->\n{text}\n<!-- /tiles -->")

    assert "one click: IoU | 0.7 | 0.9 | +0.2 [+0.1, +0.3] | abc1234 |" in told
    assert told.count("abc1234") == 1


def test_the_summary_names_every_commit_that_measured_a_table_and_no_word_after_them() -> None:
    measured = "On 2 cores (some); commit abc1234, def5678+, and a note."
    text = f"| trained on | share | one click |\n| --- | --- | --- |\n| nuclei | 0.75, as served | 0.9 |\n\n{measured}"

    assert "| abc1234, def5678+ |" in summary(f"<!-- tiles: by hand -->\n{text}\n<!-- /tiles -->")


def test_the_summary_in_readme_says_what_the_results_say() -> None:
    told = block(pages.README.read_text(), "summary")
    assert told == summary(pages.RESULTS.read_text())
    assert told.count("\n| ") == 1 + len(LINES), "a line lacks its figure"


def test_a_smaller_training_learns_from_some_of_the_images_and_holds_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    pictures = [Picture(f"{n}.png", Image.new("RGB", (8, 8), (n, 0, 0)), (("Nucleus", mask),)) for n in range(12)]
    bench = Bench(write(pictures, tmp_path), tmp_path / "out", 60.0)
    bench.folder.mkdir()
    tasks = json.loads(bench.export.read_bytes())
    digests = sorted(map(bench.digest, tasks), key=rank)
    everything = Trained(
        "decoder", tmp_path, {"metrics": {"split": {"held_out": digests[:3], "learnt": digests[3:]}}}, 1.0, {}
    )
    commands = []

    def noted(*words: str | Path, cache: Path) -> tuple[str, float]:
        commands.append(words)
        out = Path(words[words.index("--out") + 1])
        out.mkdir()
        (out / "manifest.json").write_text(json.dumps({"metrics": {}}))
        return "", 1.0

    monkeypatch.setattr(trainings, "samloop", noted)
    kept = []
    for count in (2, 5):
        bench.trained_on(count, of=everything, seconds=30.0)
        export = commands[-1][commands[-1].index("--export") + 1]
        kept.append({bench.digest(task) for task in json.loads(Path(export).read_bytes())})
        assert kept[-1] >= set(digests[:3])
        assert len(kept[-1]) == 3 + count
        assert commands[-1][commands[-1].index("--seconds") + 1] == "30"
    assert all(small < large for small, large in itertools.pairwise(kept))


def test_a_table_is_written_as_it_grows_and_a_part_that_fails_ends_none_but_itself(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks() -> Iterator[str]:
        yield "one row"
        assert "one row\n\nmeasured" in written.read_text()
        yield "two rows"
        raise subprocess.CalledProcessError(3, ["samloop", "train"])

    def holds() -> Iterator[str]:
        yield "all of y"

    assert run({"methods": breaks, "y": holds}, told=lambda minutes: f"measured in {minutes:.0f} minutes") == [
        "methods"
    ]
    assert written.read_text() == (
        "<!-- methods: by hand -->\ntwo rows\n\nmeasured in 0 minutes\n<!-- /methods -->\n"
        "<!-- y: by hand -->\nall of y\n\nmeasured in 0 minutes\n<!-- /y -->\n"
    )
    assert "returned non-zero exit status 3" in capsys.readouterr().err


def test_a_method_that_fails_is_told_and_left_out_and_one_that_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def command(*words: str | Path, cache: Path, **environment: str) -> tuple[str, float]:
        commands.append((words, environment))
        if "lora" in words:
            raise subprocess.CalledProcessError(1, ["samloop"])
        if words[0] == "evaluate":
            return json.dumps({"of": str(words[words.index("--checkpoint") + 1])}), 1.0
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True)
        (out / "manifest.json").write_text(json.dumps({"metrics": {}}))
        return "", 2.0

    monkeypatch.setattr(trainings, "samloop", command)
    bench = Bench(tmp_path / "set" / "export.json", tmp_path / "out", 60.0)
    options = {"head": "semantic", "SAMLOOP_UNLABELLED": "unknown"}
    found = list(bench.several(("decoder", "lora", "conv-lora"), evaluated=True, **options))
    assert [(trained.method, trained.train_s) for trained in found] == [("decoder", 2.0), ("conv-lora", 2.0)]
    assert found[0].report == {"of": str(found[0].folder)}
    assert bench.failed == ["set by lora"]
    assert commands[0][1] == {"SAMLOOP_UNLABELLED": "unknown"}
    done = len(commands)
    again = bench.several(("decoder", "lora", "conv-lora"), **options)
    assert [trained.method for trained in again] == ["decoder", "conv-lora"]
    assert len(commands) == done


def test_the_demos_table_has_every_training_and_counts_the_promoted_ones() -> None:
    gains = {prompt: {"iou": [0.1, 0.05, 0.15], "boundary_iou": [0.2, -0.1, 0.3]} for prompt in ("point", "box")}
    rows = [
        {"arithmetic": arithmetic, "seed": seed, "promoted": seed == 0, "gains": gains, "commit": "abc1234"}
        for arithmetic, seed in (("float32", 0), ("bfloat16", 1), ("bfloat16", 0))
    ]

    lines = demo_seeds.table(rows).splitlines()

    assert lines[2].startswith("| bfloat16 | 0 | yes | +0.100 [+0.050, +0.150] | +0.200 [-0.100, +0.300] |")
    assert [line.split(" | ")[:3] for line in lines[3:5]] == [["| bfloat16", "1", "no"], ["| float32", "0", "yes"]]
    assert lines[-1].startswith("2 of 3 promoted.")
    assert lines[-1].endswith("commit abc1234.")


def test_a_training_of_the_demo_becomes_a_line_with_its_gains() -> None:
    gain = Interval(0.1, 0.05, 0.15)
    gains = {prompt: {"iou": gain, "boundary_iou": gain} for prompt in ("point", "box")}
    manifest = make_manifest(metrics=CheckpointMetrics(difference=gains), verdict=Verdict(promote=True))

    row = demo_seeds.row_of(manifest, seed=3, arithmetic="bfloat16")

    assert (row["seed"], row["promoted"], row["arithmetic"]) == (3, True, "bfloat16")
    assert row["gains"]["box"]["boundary_iou"] == [0.1, 0.05, 0.15]
