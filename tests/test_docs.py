"""README and docs say what is so: links, commands, options, settings and files that they name exist."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from support.documents import DOCS, PAGES, README, ROOT, blocks_of, commands_of, links_of, slugs_of
from typer.core import TyperGroup
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.machine import settings_markdown
from backend.labelstudio.controls.choice import output_control
from backend.labelstudio.label_config import parse_label_config
from backend.settings import Settings

SETTINGS = set(re.findall(r"^\| `(\w+)`", settings_markdown(), re.MULTILINE))
# Names in capitals that are no settings of ours, and whose they are.
OTHER_NAMES = {
    "LOSS_MIXES": "finetuner/config.py",
    "ML_BLOCK_LOCAL_IP": "Label Studio",
    "SSRF_PROTECTION_ENABLED": "Label Studio",
    "ML_TIMEOUT_PREDICT": "Label Studio",
    "START_TRAINING": "Label Studio",
    "AWS_ACCESS_KEY_ID": "S3's own tools",
    "AWS_ENDPOINT_URL": "S3's own tools",
    "AWS_SECRET_ACCESS_KEY": "S3's own tools",
    "GOOGLE_APPLICATION_CREDENTIALS": "Google Cloud's own tools",
    "XDG_DATA_HOME": "freedesktop.org",
    "XDG_CACHE_HOME": "freedesktop.org",
}
ON_PAGES = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@ON_PAGES
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for link in links_of(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links {link}"
        assert not heading or heading in slugs_of(target), f"{page.name} links {link}, and has no such heading"


def test_readme_leads_to_every_page() -> None:
    assert {(README.parent / link.partition("#")[0]).resolve() for link in links_of(README)} >= set(PAGES) - {README}


def test_the_results_begin_with_a_question_for_every_part() -> None:
    contents, *_ = (DOCS / "results.md").read_text().partition("## ")
    parts = re.findall(r"^## (.+)$", (DOCS / "results.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"\| \[([^\]]+)\]\(#", contents)) == sorted(parts)


def test_readme_has_at_most_150_lines() -> None:
    assert README.read_text().count("\n") <= 150


def test_the_settings_table_is_the_one_that_the_program_prints() -> None:
    assert settings_markdown() in (DOCS / "settings.md").read_text(), "write it anew: make docs"


@ON_PAGES
def test_every_setting_that_is_named_exists_and_takes_the_value_that_is_shown(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text))
    assert named <= SETTINGS | OTHER_NAMES.keys(), f"{page.name} names what there is not"
    for name, value in re.findall(r"`(?:export )?([A-Z_]+)=([^`\s]+)`", text):
        if name in SETTINGS:
            Settings.from_env({name: value})


def _named_commands(page: Path) -> Iterator[list[str]]:
    """Words after `samloop` of every command on the page, in a block or in a sentence."""
    yield from (words[1:] for words in commands_of(page) if words[0] == "samloop")
    sentences = re.findall(r"`(?:\.venv/bin/)?samloop ([a-z][^`]*)`", page.read_text())
    yield from (shlex.split(sentence) for sentence in sentences)


@ON_PAGES
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    tree = typer.main.get_command(app)
    assert isinstance(tree, TyperGroup)
    for name, *words in _named_commands(page):
        assert name in tree.commands, f"{page.name}: samloop {name}"
        known = {option for one in tree.commands[name].params for option in (*one.opts, *one.secondary_opts)}
        for option in (word.partition("=")[0] for word in words if word.startswith("-")):
            assert option in known, f"{page.name}: samloop {name} {option}"


def test_every_command_and_option_in_an_example_of_a_help_text_exists() -> None:
    tree = typer.main.get_command(app)
    assert isinstance(tree, TyperGroup)
    examples = [
        shlex.split(example)
        for command in tree.commands.values()
        for example in re.findall(r"`samloop ([^`]+)`", command.help or "")
    ]
    assert len(examples) > 5
    for name, *words in examples:
        known = {option for parameter in tree.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, name


@ON_PAGES
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    blocks = [words[1] for words in commands_of(page) if words[0] == "make"]
    for target in [*blocks, *re.findall(r"`make ([a-z-]+)", page.read_text())]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


@ON_PAGES
def test_every_file_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`(?:python )?((?:backend|finetuner|tests|docker|docs)/[^`\s]*)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_code_that_is_shown_is_the_houses() -> None:
    sources = "\n".join(path.read_text() for room in ("backend", "finetuner") for path in (ROOT / room).rglob("*.py"))
    for page in PAGES:
        for block in blocks_of(page, "python"):
            assert block in sources, f"{page.name} shows other code: {block}"


def test_the_remedies_name_every_check_of_the_doctor_and_no_other(
    tiny_sam_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODEL_DIR", "SAMLOOP_QUEUE_DIR", "SAMLOOP_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("SAMLOOP_MODEL", str(tiny_sam_dir))
    found = CliRunner().invoke(app, ["doctor"], env={"LABEL_STUDIO_URL": "", "REDIS_URL": "", "COLUMNS": "400"}).output
    checks = re.findall(r"^(?:ok   |WRONG) ([a-z ]+):", found, re.MULTILINE)
    assert len(checks) > 5, found
    assert set(re.findall(r"`WRONG ([a-z ]+)`", (DOCS / "operation.md").read_text())) == set(checks)


def test_the_glossary_has_every_term_once_and_its_terms_in_order() -> None:
    for section in (DOCS / "glossary.md").read_text().split("\n## ")[1:]:
        terms = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[2:]
        assert terms == sorted(terms, key=str.lower)
    counted = Counter(re.findall(r"^\| ([^|]+) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE))
    assert {term for term, count in counted.items() if count > 1} == {"Term", "---"}


@ON_PAGES
def test_every_labelling_interface_that_is_shown_takes_masks_and_prompts(page: Path) -> None:
    for block in blocks_of(page, "xml"):
        config = parse_label_config(block)
        assert output_control(config, label=None)
        assert any(control.is_smart and control.shape.name in {"keypoint", "rectangle"} for control in config.controls)
