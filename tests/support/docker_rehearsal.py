"""Runs the commands of a Dockerfile in a folder, without a Docker engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# Folders of the system, not of the project: a rehearsal has no root file system.
SYSTEM_COMMANDS = ("apt-get", "useradd", "chown", "rm ")


@dataclass
class Image:
    """The result of a rehearsed stage: its files under `root`, its environment, working folder and command."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    command: list[str] = field(default_factory=list)

    def path(self, absolute: str) -> Path:
        """The path on this machine of a path in the image."""
        return self.root / absolute.lstrip("/")


def instructions(text: str) -> list[tuple[str, str]]:
    """The instruction and the rest of every line, with continuations joined and without comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in joined]


def rehearse(dockerfile: Path, *, context: Path, root: Path) -> Image:
    """Run every stage of `dockerfile` under `root`, and return the last stage's image.

    All stages share one root (as `COPY --from` needs in the end), and absolute paths of the image are rewritten to it.
    """
    image = Image(root, environ={"PATH": f"{root}/bin:$PATH"})
    arguments: dict[str, str] = {}
    for instruction, rest in instructions(dockerfile.read_text()):
        if instruction == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default.strip('"')
        elif instruction == "WORKDIR":
            image.workdir = rest
            image.path(rest).mkdir(parents=True, exist_ok=True)
        elif instruction == "ENV":
            image.environ |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif instruction == "COPY":
            _copy(rest, context=context, image=image)
        elif instruction == "RUN":
            _run(rest, image=image, arguments=arguments)
        elif instruction == "CMD":
            image.command = json.loads(rest)
    return image


def _copy(rest: str, *, context: Path, image: Image) -> None:
    words = shlex.split(rest)
    options = [word for word in words if word.startswith("--")]
    *sources, target = [word for word in words if not word.startswith("--")]
    from_stage = any(option.startswith("--from=") for option in options)
    for source in sources:
        origin = image.path(source) if from_stage else context / source
        goal = image.path(target if target.startswith("/") else f"{image.workdir}/{target}")
        if origin == goal:
            continue
        if target.endswith("/"):
            goal = goal / origin.name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, goal, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, goal)


def _run(rest: str, *, image: Image, arguments: dict[str, str]) -> None:
    for step in (step.strip() for step in rest.split("&&")):
        if step.startswith(SYSTEM_COMMANDS):
            continue
        subprocess.run(
            ["/bin/sh", "-ec", rewritten(step, image=image)],
            cwd=image.path(image.workdir),
            env={**os.environ, **arguments, **environment(image)},
            check=True,
            timeout=900,
        )


def rewritten(text: str, *, image: Image) -> str:
    """The text with the image's folders replaced by their paths on this machine."""
    return re.sub(r"(?<![\w./])(/(?:opt|app|models|cache|home)\b)", rf"{image.root}\1", text)


def environment(image: Image) -> dict[str, str]:
    """The image's ENV, with the paths on this machine."""
    values = {name: rewritten(value, image=image) for name, value in image.environ.items()}
    if "PATH" in values:
        values["PATH"] = values["PATH"].replace("$PATH", os.environ["PATH"])
    return values
