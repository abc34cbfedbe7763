"""The figures in manifests, as rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.ids import VersionName
from backend.registry.checkpoint import Manifest
from backend.registry.figures import Interval
from backend.registry.review_file import PROMPTS

_SHOWN = ("iou", "boundary_iou", "over_area", "under_area")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean over held-out objects, and its difference from the base model with a 95 % interval; None: not measured."""

    value: float | None
    difference: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version in the table. `figures`: by prompt and metric. `reasons`: the verdict's sentences."""

    manifest: Manifest
    number: int
    is_served: bool
    is_better: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, Mapping[str, Figure]]
    images: int | None
    objects: int | None


def version_rows(manifests: Sequence[Manifest], *, served: str) -> list[VersionRow]:
    """Return a row for every version, the newest first; `manifests` are the oldest first."""
    return [_row(manifest, served=served) for manifest in reversed(manifests)]


def number_of(manifest: Manifest) -> int:
    """The 3 of mobile-sam-p1-v3-0a1b2c."""
    return VersionName.parse(manifest.version).number


def _row(manifest: Manifest, *, served: str) -> VersionRow:
    differences = manifest.metrics.difference or {}
    return VersionRow(
        manifest=manifest,
        number=number_of(manifest),
        is_served=manifest.version == served,
        is_better=manifest.verdict.promote,
        reasons=manifest.verdict.reasons,
        figures={
            prompt: {
                name: Figure(
                    value=_value(manifest, prompt, name),
                    difference=differences.get(prompt, {}).get(name),
                )
                for name in _SHOWN
            }
            for prompt in PROMPTS
        },
        images=manifest.metrics.images,
        objects=manifest.metrics.objects,
    )


def _value(manifest: Manifest, prompt: str, name: str, *, model: str = "candidate") -> float | None:
    figures = manifest.metrics.model(model)
    return None if figures is None else figures.with_prompt(prompt).figure(name)
