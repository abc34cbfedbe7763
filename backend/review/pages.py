"""Renders the pages about projects, versions and data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from backend.errors import NotFound, SamloopError
from backend.ids import VersionName
from backend.images.connections import Connections
from backend.registry.checkpoint import Manifest
from backend.registry.protocol import Pointer, Registry
from backend.registry.review_file import PROMPTS
from backend.review.figures import version_rows
from backend.review.flags import Flags
from backend.review.images.pages import ImagePages
from backend.review.images.whole import WholeImages
from backend.review.masks.cards import Card
from backend.review.masks.gallery import MaskPages
from backend.review.masks.suspicion import Doubt, doubt_annotation
from backend.review.projects.facts import ENOUGH_IMAGES, ProjectBook, ProjectFacts
from backend.review.projects.listing import list_projects
from backend.review.rendering import Renderer
from backend.review.reviewed import ReviewedVersions
from backend.review.versions.comparison import Comparison, Drawing, compare, drawings_of
from backend.review.versions.trend import follow_trend
from backend.review.versions.verdict import tell_verdict
from backend.review.visitor import BASE, MasksQuery, Visitor

_SUSPICIOUS = 30


class Status(Protocol):
    """The answer of GET /projects/{id}/status, as far as this module reads it; the templates read more."""

    @property
    def verdict(self) -> Mapping[str, JsonValue] | None:
        """The verdict on the last training; None before the first."""
        ...

    @property
    def live(self) -> Mapping[str, object]:
        """The live evaluation's figures, by version."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models side by side, each named by its version or as the base model."""

    first: str
    second: str
    comparison: Comparison


class Pages:
    """Renders the pages. Thread-safe.

    Args:
        registry: the versions and the decisions.
        connections: the Label Studios with the tasks and images.
        flags: the analysts' flags.
        base_version: the base model's name.
        served_version: the version that serves a project now.
        status: the answer of /projects/{id}/status for a project.
        trained: lists the projects with a training, past or queued.

    Attributes:
        reviewed: the versions and objects behind the pages.
        masks: the pages of held-out masks.
        images: the pages of images.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        registry: Registry,
        connections: Connections,
        flags: Flags,
        base_version: Callable[[], str],
        served_version: Callable[[int], str],
        status: Callable[[int], Status],
        trained: Callable[[], Iterable[int]],
        max_pixels: int,
    ) -> None:
        self._registry, self._served_version, self._status = registry, served_version, status
        self._book, self._trained = ProjectBook(connections), trained
        self.reviewed = ReviewedVersions(registry=registry, flags=flags, served_version=served_version)
        self._renderer = Renderer(connections=connections, base_version=base_version, recall=self._book.recall)
        whole = WholeImages(connections, registry, self.reviewed, max_pixels=max_pixels)
        self.images = ImagePages(registry=registry, reviewed=self.reviewed, renderer=self._renderer, whole=whole)
        self.masks = MaskPages(
            registry=registry, reviewed=self.reviewed, renderer=self._renderer, base_version=base_version
        )

    def projects(self, visitor: Visitor) -> str:
        """Render the list of all projects, with the version that serves them."""
        projects = list_projects(self._book, self._registry, served_version=self._served_version, trained=self._trained)
        return self._renderer.render("projects.html", None, visitor, projects=projects, enough=ENOUGH_IMAGES)

    def overview(self, project_id: int, visitor: Visitor) -> str:
        """Render what is served, what is training, and the trend.

        Raises:
            NotFound: neither Label Studio nor the registry has this project.
        """
        facts, gone = self._find(project_id)
        manifests, status = self._registry.versions(project_id), self._status(project_id)
        verdict = status.verdict or (_verdict(manifests[-1]) if manifests else None)
        champion, served = self._registry.champion(project_id), self._served_version(project_id)
        return self._renderer.render(
            "overview.html",
            project_id,
            visitor,
            status=status,
            facts=facts,
            gone=gone,
            enough=ENOUGH_IMAGES,
            verdict=verdict and tell_verdict(verdict, served=served, champion=champion),
            live=status.live,
            trend=follow_trend(manifests, objects=self.reviewed.objects),
            versions=len(manifests),
        )

    def versions(self, project_id: int, visitor: Visitor, *, first: str, second: str) -> str:
        """Render all versions and decisions, and compare `first` with `second` where both are given.

        Raises:
            NotFound: `first` or `second` is not a version of this project.
        """
        manifests = self._registry.versions(project_id)
        names = {manifest.version for manifest in manifests}
        for name in (first, second):
            if name and name not in {*names, BASE}:
                raise NotFound(
                    f"{name[:120]!r} is not a version of project {project_id}: its page of versions lists them all"
                )
        pair = self._compare(first, second) if first and second and {first, second} & names else None
        return self._renderer.render(
            "versions.html",
            project_id,
            visitor,
            rows=version_rows(manifests, served=self._served_version(project_id)),
            pair=pair,
            served=self._served_version(project_id),
            first=first,
            second=second,
            history=tuple(reversed(self._registry.history(project_id))),
        )

    def decision(self, project_id: int, visitor: Visitor, *, version: str) -> str:
        """Render the form that asks for a reason before another version is served.

        Raises:
            NotFound: the project has no such version.
        """
        champion = self._registry.champion(project_id)
        manifest = None if version == BASE else self.reviewed.manifest(project_id, version)
        return self._renderer.render(
            "decide.html",
            project_id,
            visitor,
            version=version,
            manifest=manifest,
            verdict=manifest and manifest.verdict,
            is_back=_is_back(champion, manifest),
            number=champion.number if champion else 0,
            now=self._served_version(project_id),
        )

    def data(self, project_id: int, visitor: Visitor, *, version: str) -> str:
        """Render what a version learnt from, what its training left out, and which annotations look wrong.

        Raises:
            NotFound: the project has no such version.
        """
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._renderer.render("data.html", project_id, visitor, manifest=None, manifests=())
        manifest = self.reviewed.manifest(project_id, version) if version else manifests[-1]
        return self._renderer.render(
            "data.html",
            project_id,
            visitor,
            manifest=manifest,
            manifests=manifests,
            data=manifest.metrics.data,
            kept=bool(self.reviewed.objects(manifest.version)),
            suspicious=self._suspicious(project_id, visitor, version=manifest.version),
        )

    def _suspicious(self, project_id: int, visitor: Visitor, *, version: str) -> list[tuple[Card, Doubt]]:
        """The most doubtful annotations first, every one with the prompt that speaks against it."""
        doubted = []
        for prompt in PROMPTS:
            for card in self.reviewed.cards(project_id, visitor, MasksQuery(version=version, prompt=prompt)):
                doubt = doubt_annotation(card.item)
                if doubt is not None and doubt.prompt == prompt:
                    doubted.append((card, doubt))
        return sorted(doubted, key=lambda pair: -pair[1].by)[:_SUSPICIOUS]

    def render_tab_link(self, project_id: int, visitor: Visitor, *, url: str) -> str:
        """Render the link to the tab of the tasks to label again."""
        return self._renderer.render("sent.html", project_id, visitor, url=url)

    def failure(self, project_id: int | None, visitor: Visitor, fault: SamloopError) -> str:
        """Render an error."""
        return self._renderer.render("failure.html", project_id, visitor, fault=fault)

    def _find(self, project_id: int) -> tuple[ProjectFacts | None, str | None]:
        """Label Studio's facts about the project, or its refusal where only the registry still knows the project."""
        try:
            return self._book.find(project_id), None
        except NotFound as fault:
            if project_id not in self._registry.projects():
                raise
            return None, str(fault)

    def _compare(self, first: str, second: str) -> Pair:
        """Compare two versions. One of them may be BASE, which was measured on the other's held-out objects."""
        base = self._renderer.base_version()
        return Pair(
            first=base if first == BASE else first,
            second=base if second == BASE else second,
            comparison=compare(self._drawings(first, beside=second), self._drawings(second, beside=first)),
        )

    def _drawings(self, version: str, *, beside: str) -> dict[str, Drawing]:
        if version == BASE:
            return drawings_of(self.reviewed.objects(beside), model="base")
        return drawings_of(self.reviewed.objects(version))


def _is_back(champion: Pointer | None, manifest: Manifest | None) -> bool:
    """Whether serving this version is a rollback: to the base model, or to a version older than the served one."""
    if manifest is None:
        return True
    served = champion.version if champion else None
    return served is not None and VersionName.parse(manifest.version).number < VersionName.parse(served).number


def _verdict(manifest: Manifest) -> Mapping[str, JsonValue]:
    return {"version": manifest.version, "promote": manifest.verdict.promote, "reasons": list(manifest.verdict.reasons)}
