"""What each page shows: the objects behind it looked up, and its template filled in."""

import functools
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import JsonValue

from backend.charts.chart import with_charts
from backend.errors import BadCheckpoint, BadInput, NotFound, SamloopError
from backend.ids import VersionName, is_version_of, shorten_version
from backend.images.connections import Connections
from backend.registry.checkpoint import REPORT_FILE, Manifest
from backend.registry.protocol import Pointer, Registry
from backend.registry.review_file import PROMPTS, ReviewedObject, read_review
from backend.review.cards import SORTS, Card, cards, edge_window, ordered
from backend.review.figures import compared, on_common, trend, version_rows
from backend.review.flags import VERDICTS, Flag, Flags, counted
from backend.review.tasks import task_url

A_PAGE = 200  # masks
BASE = "base"
_SUSPICIOUS = 30
_DETAIL_PX = 640
_NONE = "\N{EN DASH}"
_OPENED = 8  # versions whose masks are kept parsed: a few MB each


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks, and below which path the pages are for him."""

    analyst: str
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksQuery:
    """What of the masks is wanted; every field as the form has it, "" for the usual."""

    version: str = ""
    against: str = ""
    prompt: str = "box"
    sort: str = "tightened"
    label: str = ""
    flag: str = ""
    page: int = 1

    def address(self, **changed: object) -> str:
        """As a query of a URL."""
        told = {name: getattr(self, name) for name in self.__slots__} | changed
        return urllib.parse.urlencode({name: value for name, value in told.items() if value})


class Status(Protocol):
    """What GET /projects/{id}/status answers; the templates show more of it."""

    @property
    def verdict(self) -> Mapping[str, JsonValue] | None:
        """What came of the last training."""
        ...

    @property
    def live(self) -> Mapping[str, object]:
        """How good masks were in people's hands, by version."""
        ...


class Pages:
    """Renders them. Thread-safe.

    Args:
        registry: the versions, and what is served.
        connections: where tasks and images are.
        flags: what analysts say.
        base_version: the base model's name.
        served_version: by project, the version that a prediction carries now.
        status: by project, what /projects/{id}/status tells.
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
    ) -> None:
        self._registry, self._connections, self._flags = registry, connections, flags
        self._base_version, self._served_version, self._status = base_version, served_version, status
        # A version never changes: what was read of one stays true.
        self._review = functools.lru_cache(maxsize=_OPENED)(lambda version: read_review(registry.materialise(version)))
        self._templates = Environment(
            loader=with_charts(PackageLoader("backend.review", "templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"figure": _figure, "signed": _signed, "short": shorten_version}

    def overview(self, project_id: int, visitor: Visitor) -> str:
        """What is served, what is training, and where it leads."""
        manifests, status = self._registry.versions(project_id), self._status(project_id)
        verdict = status.verdict or (_verdict(manifests[-1]) if manifests else None)
        return self._render(
            "overview.html",
            project_id,
            visitor,
            status=status,
            verdict=verdict,
            live=status.live,
            chart=trend(manifests),
            versions=len(manifests),
        )

    def versions(self, project_id: int, visitor: Visitor, *, first: str, second: str) -> str:
        """All versions, the decisions, and two of them compared.

        Raises:
            NotFound: one of the two is no version of this project.
        """
        manifests = self._registry.versions(project_id)
        by_name = {each.version: each for each in manifests}
        both = []
        for name in (first, second):
            if name and name not in by_name:
                raise NotFound(f"{name[:120]!r} is no version of project {project_id}")
            both.append(by_name.get(name))
        one, other = both
        pair = None
        if one and other:
            pair = {
                "first": one,
                "second": other,
                "rows": compared(one, other),
                "common": on_common(self._objects(one.version), self._objects(other.version)),
                "same_data": one.data_digest == other.data_digest,
            }
        return self._render(
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
        """Asks for a reason before another version is served.

        Raises:
            NotFound: no such version.
        """
        champion = self._registry.champion(project_id)
        manifest = None if version == BASE else self._manifest(project_id, version)
        return self._render(
            "decide.html",
            project_id,
            visitor,
            version=version,
            manifest=manifest,
            verdict=manifest and _verdict(manifest),
            is_back=_is_back(champion, manifest),
            number=champion.number if champion else 0,
            now=self._served_version(project_id),
        )

    def masks(self, project_id: int, visitor: Visitor, query: MasksQuery) -> str:
        """Held-out masks of a version against another's, in the order asked for.

        Raises:
            NotFound: no such version.
            BadInput: a prompt or an order that there is not.
        """
        if query.prompt not in PROMPTS or query.sort not in SORTS:
            raise BadInput(f"prompt is one of {', '.join(PROMPTS)}, sort one of {', '.join(SORTS)}")
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._render("masks.html", project_id, visitor, query=query, manifests=(), shown=(), flags={})
        chosen = query.version or self._usual_version(project_id, manifests)
        flags = self._flags_of(project_id, chosen)
        found = self._cards(project_id, chosen, visitor, prompt=query.prompt, against=query.against, flags=flags)
        labels = sorted({card.item.label for card in found})
        wanted = [card for card in found if not query.label or card.item.label == query.label]
        if query.flag:
            wanted = [card for card in wanted if any(each.verdict == query.flag for each in card.flags)]
        first = (query.page - 1) * A_PAGE
        return self._render(
            "masks.html",
            project_id,
            visitor,
            query=query,
            chosen=chosen,
            manifests=manifests,
            labels=labels,
            sorts=SORTS,
            total=len(wanted),
            shown=ordered(wanted, sort=query.sort)[first : first + A_PAGE],
            last_page=-(-len(wanted) // A_PAGE),
            flags=counted(each for each in flags if each.prompt == query.prompt),
            opposite=query.against or self._base_version(),
            kept=self._has_masks(chosen),
        )

    def mask(self, project_id: int, visitor: Visitor, key: str, query: MasksQuery) -> str:
        """One object as large as it is, and its edge where it is worst.

        Raises:
            NotFound: no such version, or it was not measured on this object.
        """
        if query.prompt not in PROMPTS:
            raise BadInput(f"prompt is one of {', '.join(PROMPTS)}")
        card = self.card(project_id, visitor, key, query)
        around = ordered(
            self._cards(project_id, query.version, visitor, prompt=query.prompt, against=query.against, flags=()),
            sort=query.sort if query.sort in SORTS else "tightened",
        )
        place = next(index for index, each in enumerate(around) if each.item.key == key)
        edge = edge_window(card)
        return self._render(
            "mask.html",
            project_id,
            visitor,
            card=card,
            query=query,
            outlines=card.outlines(longest_px=_DETAIL_PX),
            edge=edge,
            edge_outlines=edge and card.outlines(longest_px=_DETAIL_PX, window=edge),
            before=around[place - 1].item.key if place else None,
            place=place + 1,
            total=len(around),
            after=around[place + 1].item.key if place + 1 < len(around) else None,
            opposite=query.against or self._base_version(),
        )

    def card(self, project_id: int, visitor: Visitor, key: str, query: MasksQuery) -> Card:
        """One object of a version.

        Raises:
            NotFound: no such version, or it was not measured on this object.
        """
        flags = self._flags_of(project_id, query.version)
        found = self._cards(project_id, query.version, visitor, prompt=query.prompt, against=query.against, flags=flags)
        if (card := next((each for each in found if each.item.key == key), None)) is None:
            raise NotFound(f"{query.version[:120]} was not measured on an object {key[:40]!r}")
        return card

    def data(self, project_id: int, visitor: Visitor, *, version: str) -> str:
        """What a version learnt from, what was left out, and which annotations look wrong.

        Raises:
            NotFound: no such version.
        """
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._render("data.html", project_id, visitor, manifest=None, manifests=())
        manifest = self._manifest(project_id, version) if version else manifests[-1]
        found = self._cards(project_id, manifest.version, visitor, prompt="box", against="", flags=())
        return self._render(
            "data.html",
            project_id,
            visitor,
            manifest=manifest,
            manifests=manifests,
            data=manifest.metrics.data,
            kept=self._has_masks(manifest.version),
            suspicious=[card for card in ordered(found, sort="disagreeing") if card.conviction > 0][:_SUSPICIOUS],
        )

    def report(self, project_id: int, version: str) -> bytes:
        """The page that the training wrote beside the checkpoint.

        Raises:
            NotFound: no such version, or none was written.
        """
        self._manifest(project_id, version)
        try:
            return (self._registry.materialise(version) / REPORT_FILE).read_bytes()
        except OSError as fault:
            raise NotFound(f"{version} has no training report") from fault

    def sent(self, project_id: int, visitor: Visitor, *, url: str) -> str:
        """Where the tasks are that were sent to be labelled again."""
        return self._render("sent.html", project_id, visitor, url=url)

    def failure(self, project_id: int | None, visitor: Visitor, fault: SamloopError) -> str:
        """An error as a page."""
        return self._render("failure.html", project_id, visitor, fault=fault)

    def objects_beside(self, project_id: int, version: str, item: ReviewedObject) -> list[ReviewedObject]:
        """The version's objects on the same image."""
        self._check(project_id, version)
        return [each for each in self._objects(version) if each.image_sha256 == item.image_sha256]

    def reviewed(self, project_id: int, version: str, key: str) -> ReviewedObject:
        """One object of a version.

        Raises:
            NotFound: no such version or object.
        """
        self._check(project_id, version)
        found = next((each for each in self._objects(version) if each.key == key), None)
        if found is None:
            raise NotFound(f"{version[:120]} was not measured on an object {key[:40]!r}")
        return found

    def _cards(  # noqa: PLR0913 - all by name
        self, project_id: int, version: str, visitor: Visitor, *, prompt: str, against: str, flags: tuple[Flag, ...]
    ) -> list[Card]:
        self._check(project_id, version)
        other = None
        if against and against != BASE:
            self._check(project_id, against)
            other = {each.key: each for each in self._objects(against)}
        return cards(self._objects(version), prompt=prompt, against=other, flags=flags, analyst=visitor.analyst)

    def _objects(self, version: str) -> tuple[ReviewedObject, ...]:
        """None of a version of before; the pages say so."""
        try:
            return self._review(version)
        except NotFound:
            return ()

    def _has_masks(self, version: str) -> bool:
        return bool(self._objects(version))

    def _flags_of(self, project_id: int, version: str) -> tuple[Flag, ...]:
        return tuple(each for each in self._flags.current(project_id) if each.version == version)

    def _usual_version(self, project_id: int, manifests: tuple[Manifest, ...]) -> str:
        """What is served, else the latest."""
        served = self._served_version(project_id)
        return served if any(each.version == served for each in manifests) else manifests[-1].version

    def _check(self, project_id: int, version: str) -> None:
        """Raise NotFound unless the version is this project's: its id is in its name, which the registry parses."""
        if not is_version_of(version, project_id):
            raise NotFound(f"{version[:120]!r} is no version of project {project_id}")
        self._registry.materialise(version)

    def _manifest(self, project_id: int, version: str) -> Manifest:
        self._check(project_id, version)
        manifest = self._registry.manifest(version)
        if manifest.project_id != project_id:
            raise BadCheckpoint(f"{version} names project {manifest.project_id} in its manifest")
        return manifest

    def _render(self, template: str, project_id: int | None, visitor: Visitor, **shown: object) -> str:
        studio = self._connections.label_studio(project_id) if project_id else None
        return self._templates.get_template(template).render(
            project=project_id,
            visitor=visitor,
            here=f"{visitor.root}/review/{project_id}",
            static=f"{visitor.root}/review/static",
            root=visitor.root,
            page=template.removesuffix(".html"),
            base_version=self._base_version(),
            verdicts=VERDICTS,
            task_url=lambda task_id: task_url(studio, project_id, task_id) if project_id else None,
            **shown,
        )


def _is_back(champion: Pointer | None, manifest: Manifest | None) -> bool:
    """Whether serving this would be going back: to the base, or to a version made before."""
    if manifest is None:
        return True
    served = champion.version if champion else None
    return served is not None and VersionName.parse(manifest.version).number < VersionName.parse(served).number


def _verdict(manifest: Manifest) -> dict[str, Any]:
    return {"version": manifest.version, **manifest.verdict}


def _figure(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    """As in +0.021, with a minus sign where it is one."""
    return _NONE if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
