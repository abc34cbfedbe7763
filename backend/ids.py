"""Ids that come from outside, parsed in one place: a project's number, a version's name, a job's id.

All of them become parts of paths, of Redis' keys and of addresses, so only what these rules accept gets that far.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, NewType, get_args

from backend.errors import BadInput

ProjectId = NewType("ProjectId", int)
JobKind = Literal["train", "refresh"]

# Far above any id that Label Studio gives out, and short enough for a folder, a Redis key and a job's id.
LARGEST_PROJECT_ID: Final = 10**12 - 1
_LONGEST_BASE = 80
_NAMELESS_BASE = "model"

_PROJECT = "[1-9][0-9]{0,11}"
_NUMBER = "[1-9][0-9]{0,8}"
_SHA6 = "[0-9a-f]{6}"
_PROJECT_ID = re.compile(_PROJECT)
_PROJECT_AND_TIME = re.compile(rf"({_PROJECT})\.[0-9]{{1,20}}")
_VERSION = re.compile(rf"([A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_BASE - 1}}})-p({_PROJECT})-v({_NUMBER})-({_SHA6})")
_SHORT_VERSION = re.compile(rf"v{_NUMBER}-{_SHA6}")
_JOB = re.compile(rf"({'|'.join(get_args(JobKind))})-({_PROJECT})-({_PROJECT})")


def parse_project_id(value: object) -> ProjectId:
    """Parse a project's id from a number or from its decimal digits: `7`, `"7"`.

    Raises:
        BadInput: anything else, such as `0`, `"07"`, `True` or a number above LARGEST_PROJECT_ID.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_PROJECT_ID:
        return ProjectId(value)
    if isinstance(value, str) and (project_id := find_project_id(value)) is not None:
        return project_id
    raise BadInput(f"project is {_shorten(value)}, not a project's number, such as 1")


def parse_label_studio_project(value: object) -> ProjectId:
    """Parse the id as Label Studio sends it: `7`, `"7"`, or `"7.1795418479"`, which ends with the creation time.

    Raises:
        BadInput: anything else.
    """
    match = _PROJECT_AND_TIME.fullmatch(value) if isinstance(value, str) else None
    return parse_project_id(match[1] if match else value)


def find_project_id(name: str) -> ProjectId | None:
    """Return the project that the name of a folder, a file or an address part stands for, or None."""
    return ProjectId(int(name)) if _PROJECT_ID.fullmatch(name) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionName:
    """The name of a published version: `mobile-sam-p1-v3-0a1b2c`, in short `v3-0a1b2c`.

    Attributes:
        base: the base model's name, made safe for a path, at most 80 characters. It may itself look like a version.
        project_id: the project whose annotations the version learned from.
        number: 1 for the project's first version.
        sha6: the first six hexadecimal digits of the weights' SHA-256.
    """

    base: str
    project_id: ProjectId
    number: int
    sha6: str

    @classmethod
    def parse(cls, text: str) -> "VersionName":
        """Read a long name.

        Raises:
            BadInput: the text is no version's name.
        """
        if (name := cls.find(text)) is None:
            raise BadInput(f"{text[:100]!r} is not the name of a version, such as mobile-sam-p1-v3-0a1b2c")
        return name

    @classmethod
    def find(cls, text: str) -> "VersionName | None":
        """Read a long name. A base model's name, an offline checkpoint's or any other text gives None."""
        match = _VERSION.fullmatch(text)
        if match is None:
            return None
        base, project, number, sha6 = match.groups()
        return cls(base=base, project_id=ProjectId(int(project)), number=int(number), sha6=sha6)

    @staticmethod
    def is_short(text: str) -> bool:
        """Whether the text is a short name."""
        return _SHORT_VERSION.fullmatch(text) is not None

    @property
    def short(self) -> str:
        """The name that pages show: unique within a project."""
        return f"v{self.number}-{self.sha6}"

    def __str__(self) -> str:
        return f"{self.base}-p{self.project_id}-{self.short}"


def shorten_base(base_model: str) -> str:
    """Return the base model's name as version names carry it: `facebook/sam-vit-base` -> `facebook-sam-vit-base`.

    A path gives its last part. The result is safe in a path, never empty, and at most 80 characters long.
    """
    name = base_model.rstrip("/").rpartition("/")[2] if base_model.startswith(("/", ".")) else base_model
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return safe[:_LONGEST_BASE] or _NAMELESS_BASE


def is_version_of(version: str, project_id: int) -> bool:
    """Return whether the version's name names this project."""
    name = VersionName.find(version)
    return name is not None and name.project_id == project_id


def shorten_version(version: str) -> str:
    """`mobile-sam-p1-v3-0a1b2c` -> `v3-0a1b2c`; a name that is no published version's comes back unchanged."""
    name = VersionName.find(version)
    return version if name is None else name.short


@dataclass(frozen=True, slots=True, kw_only=True)
class JobId:
    """The id of a job on the queue: `train-7-12` is the training that project 7's twelfth request asked for."""

    kind: JobKind
    project_id: ProjectId
    generation: int

    @classmethod
    def find(cls, text: str) -> "JobId | None":
        """Read a job's id. Any other text gives None."""
        match = _JOB.fullmatch(text)
        if match is None:
            return None
        kind: JobKind = "train" if match[1] == "train" else "refresh"
        return cls(kind=kind, project_id=ProjectId(int(match[2])), generation=int(match[3]))

    def __str__(self) -> str:
        return f"{self.kind}-{self.project_id}-{self.generation}"


def _shorten(value: object) -> str:
    """Return the value for an error message: text is cut, and a number is never printed, for it may be endless."""
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__
