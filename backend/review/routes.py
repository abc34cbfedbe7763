"""Paths and forms of the review pages; what they show is pages'."""

import asyncio
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import quote, unquote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from backend.errors import BadInput, NotFound, SamloopError
from backend.http.admission import Admission
from backend.http.path_ids import ProjectId
from backend.ids import find_project_id
from backend.images.connections import Connections
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.cards import edge_window
from backend.review.crops import SIZES_PX, Crops
from backend.review.flags import LABEL_AGAIN, LONGEST_ANALYST, Flag, Flags, as_csv, counted
from backend.review.page_route import Gate, page_route, read_form
from backend.review.pages import BASE, MasksQuery, Pages, Visitor
from backend.review.tasks import send_to_labelling
from backend.work.queue import TrainingQueue

Name = Annotated[str, Path(max_length=200)]
Text = Annotated[str, Query(max_length=200)]
_ANALYST = "samloop_analyst"
_NOBODY = "analyst"
_STATIC = {"review.css": "text/css", "review.js": "text/javascript", "icon.svg": "image/svg+xml"}
_LONGEST_REASON = 500
# The report brings its style with it, and its pictures; it has no script and is let none.
_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # a version's pictures never change


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRoutes:
    """The handlers over what they need. `def` handlers run in threads."""

    pages: Pages
    registry: Registry
    connections: Connections
    flags: Flags
    crops: Crops
    admission: Admission
    gate: Gate
    refreshes: TrainingQueue

    def overview(self, project_id: ProjectId, request: Request) -> Response:
        """What is served, what is training."""
        return HTMLResponse(self.pages.overview(project_id, _visitor(request)))

    def versions(self, project_id: ProjectId, request: Request, a: Text = "", b: Text = "") -> Response:
        """All versions; `a` and `b` side by side."""
        return HTMLResponse(self.pages.versions(project_id, _visitor(request), first=a, second=b))

    def masks(self, project_id: ProjectId, request: Request) -> Response:
        """Held-out masks; what is wanted stands in the query, see pages.MasksQuery."""
        return HTMLResponse(self.pages.masks(project_id, _visitor(request), _query(request)))

    def mask(self, project_id: ProjectId, version: Name, key: Name, request: Request) -> Response:
        """One mask, large."""
        query = replace(_query(request), version=version)
        return HTMLResponse(self.pages.mask(project_id, _visitor(request), key, query))

    async def crop(self, project_id: ProjectId, version: Name, key: Name, size_px: int) -> Response:
        """The picture below a mask; in threads of their own, for a page asks for hundreds, and images may be slow."""
        return await self.admission.run(lambda: self._crop(project_id, version, key, size_px))

    def _crop(self, project_id: int, version: str, key: str, size_px: int) -> Response:
        if size_px not in SIZES_PX:
            raise NotFound(f"pictures come in {', '.join(map(str, SIZES_PX))} px, not in {size_px}")
        item = self.pages.reviewed(project_id, version, key)
        fetch = self._fetch(project_id, item.image_uri, item.task_id)
        data = self.crops.crop(
            item.image_sha256,
            item.window,
            size_px=size_px,
            fetch=fetch,
            beside=[each.window for each in self.pages.objects_beside(project_id, version, item)[:64]],
        )
        return Response(data, media_type="image/webp", headers=_KEPT)

    async def edge(
        self, project_id: ProjectId, version: Name, key: Name, request: Request, prompt: Literal["box", "point"] = "box"
    ) -> Response:
        """The picture below the worst part of a mask's edge."""
        return await self.admission.run(lambda: self._edge(project_id, version, key, request, prompt))

    def _edge(self, project_id: int, version: str, key: str, request: Request, prompt: str) -> Response:
        query = MasksQuery(version=version, prompt=prompt)
        card = self.pages.card(project_id, _visitor(request), key, query)
        if (window := edge_window(card)) is None:
            raise NotFound("version and annotator drew the same")
        fetch = self._fetch(project_id, card.item.image_uri, card.item.task_id)
        data = self.crops.crop(card.item.image_sha256, window, size_px=SIZES_PX[1], fetch=fetch)
        return Response(data, media_type="image/webp", headers=_KEPT)

    def data(self, project_id: ProjectId, request: Request, version: Text = "") -> Response:
        """What was learnt from, and what looks wrong in it."""
        return HTMLResponse(self.pages.data(project_id, _visitor(request), version=version))

    def report(self, project_id: ProjectId, version: Name) -> Response:
        """The training's own page."""
        return HTMLResponse(self.pages.report(project_id, version), headers={"Content-Security-Policy": _REPORT_POLICY})

    def decision(self, project_id: ProjectId, request: Request, version: Text) -> Response:
        """The question before a promotion."""
        return HTMLResponse(self.pages.decision(project_id, _visitor(request), version=version))

    def flags_csv(self, project_id: ProjectId) -> Response:
        """Every flag that counts."""
        name = f"samloop-flags-{project_id}.csv"
        return Response(
            as_csv(self.flags.current(project_id)),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def static(self, name: Name) -> Response:
        """Style, script and icon."""
        if name not in _STATIC:
            raise NotFound(f"there is no file {name[:60]!r}")
        data = (resources.files("backend.review") / "static" / name).read_bytes()
        return Response(data, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})

    async def decide(self, project_id: ProjectId, request: Request) -> Response:
        """Serve another version from now on."""
        form = await read_form(request)
        visitor = _visitor(request)
        reason = _plain(form.get("reason", ""), longest=_LONGEST_REASON)
        if not reason:
            raise BadInput("a decision needs a reason, for who reads it later: go back and write one")
        version, number = form.get("version", ""), form.get("number", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise BadInput("the form does not say which decision it was made after: open it again")
        await asyncio.to_thread(
            self.registry.promote,
            project_id,
            None if version == BASE else version,
            reason=f"{reason} ({visitor.analyst}, on the review page)",
            expected=int(number),
        )
        return _to(request, project_id, "/versions")

    async def refresh(self, project_id: ProjectId, request: Request) -> Response:
        """Ask for fresh masks of the tasks that nobody touched, or end what brings them."""
        is_wanted = (await read_form(request)).get("wanted") != "no"
        await asyncio.to_thread(self.refreshes.request if is_wanted else self.refreshes.cancel, project_id)
        return _to(request, project_id, "")

    async def flag(self, project_id: ProjectId, request: Request) -> Response:
        """Keep what an analyst says of a mask; a script gets the new counts, a form its page again."""
        form, visitor = await read_form(request), _visitor(request)
        query = MasksQuery(version=form.get("version", ""), prompt=form.get("prompt", ""))
        if query.prompt not in PROMPTS:
            raise BadInput(f"prompt is one of {', '.join(PROMPTS)}")

        def keep() -> JSONResponse:
            item = self.pages.reviewed(project_id, query.version, form.get("key", ""))
            self.flags.add(
                project_id,
                Flag(
                    at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                    version=query.version,
                    key=item.key,
                    prompt=query.prompt,
                    task_id="" if item.task_id is None else str(item.task_id),
                    label=item.label,
                    analyst=visitor.analyst,
                    verdict=form.get("verdict", ""),
                ),
            )
            mine = [each for each in self.flags.current(project_id) if each.version == query.version]
            mine = [each for each in mine if each.prompt == query.prompt]
            said = counted(each for each in mine if each.key == item.key)
            return JSONResponse({"verdict": form["verdict"], "mask": said, "version": counted(mine)})

        told = await asyncio.to_thread(keep)
        if "application/json" in request.headers.get("accept", ""):
            return told
        return _back(request, project_id, "/masks")

    async def queue(self, project_id: ProjectId, request: Request) -> Response:
        """Put the tasks whose masks are loose or wrong into a tab of Label Studio's, and go there."""
        form = await read_form(request)
        version = form.get("version", "")

        def send() -> str:
            wanted = [each for each in self.flags.current(project_id) if each.verdict in LABEL_AGAIN]
            tasks = [each.task_id for each in wanted if each.version == version]
            return send_to_labelling(self.connections.label_studio(project_id), project_id, tasks)

        url = await asyncio.to_thread(send)
        # A link, not a redirect: the policy lets a form go nowhere but here, and who sent it may want to stay.
        return HTMLResponse(self.pages.sent(project_id, _visitor(request), url=url))

    async def analyst(self, project_id: ProjectId, request: Request) -> Response:
        """Remember who flags."""
        name = _plain((await read_form(request)).get("analyst", ""), longest=LONGEST_ANALYST) or _NOBODY
        response = _back(request, project_id, "")
        response.set_cookie(
            _ANALYST,
            quote(name),
            max_age=365 * 86400,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def router(self) -> APIRouter:
        """Every path on its handler."""
        router = APIRouter(route_class=page_route(self.gate, self._failure), include_in_schema=False)
        router.get("/review/static/{name}")(self.static)
        here = "/review/{project_id}"
        for path, handler in (
            ("", self.overview),
            ("/versions", self.versions),
            ("/masks", self.masks),
            ("/masks/{version}/{key}", self.mask),
            ("/crops/{version}/{key}/edge", self.edge),
            ("/crops/{version}/{key}/{size_px}", self.crop),
            ("/data", self.data),
            ("/report/{version}", self.report),
            ("/decide", self.decision),
            ("/flags.csv", self.flags_csv),
        ):
            router.get(here + path, response_model=None)(handler)
        for path, answer in (
            ("/decide", self.decide),
            ("/flags", self.flag),
            ("/queue", self.queue),
            ("/analyst", self.analyst),
            ("/refresh", self.refresh),
        ):
            router.post(here + path, response_model=None)(answer)
        return router

    def _fetch(self, project_id: int, uri: str | None, task_id: int | str | None) -> Callable[[], bytes]:
        if uri is None:
            raise NotFound("the image's address was too long to be kept with the version")
        images = self.connections.images(project_id)
        return lambda: images.fetch(uri, task_id=task_id if isinstance(task_id, int) else None)

    def _failure(self, request: Request, fault: SamloopError) -> Response:
        if request.method == "GET" and "/crops/" in request.url.path:
            return Response(str(fault), status_code=fault.status, media_type="text/plain")
        project_id = find_project_id(str(request.path_params.get("project_id")))
        return HTMLResponse(self.pages.failure(project_id, _visitor(request), fault), status_code=fault.status)


def _visitor(request: Request) -> Visitor:
    name = _plain(unquote(request.cookies.get(_ANALYST, "")), longest=LONGEST_ANALYST)
    return Visitor(analyst=name or _NOBODY, root=request.scope.get("root_path", "").rstrip("/"))


def _query(request: Request) -> MasksQuery:
    """The fields of the form above the masks, the last value of each.

    Raises:
        BadInput: one is longer than any version or label; the page is no number.
    """
    told = {name: value for name, value in request.query_params.items() if name in MasksQuery.__slots__ and value}
    page = told.pop("page", "1")
    if any(len(value) > 1000 for value in told.values()) or not re.fullmatch("[1-9][0-9]{0,5}", page):
        raise BadInput(f"the query holds a page of {page[:20]!r}, or a field of more than 1000 characters")
    return MasksQuery(**told, page=int(page))


def _plain(text: str, *, longest: int) -> str:
    """One line of printable text, at most so long."""
    printable = "".join(" " if unicodedata.category(each).startswith(("C", "Z")) else each for each in text)
    return " ".join(printable.split())[:longest].strip()


def _to(request: Request, project_id: int, path: str) -> RedirectResponse:
    return RedirectResponse(f"{_visitor(request).root}/review/{project_id}{path}", status_code=303)


def _back(request: Request, project_id: int, usual: str) -> RedirectResponse:
    """To the page that the form was on: its path and query alone, so that nobody is sent elsewhere."""
    here = f"{_visitor(request).root}/review/{project_id}"
    _, found, rest = request.headers.get("referer", "").partition(f"{request.headers.get('host', '')}{here}")
    path = str(PurePosixPath(rest.partition("?")[0] or "/"))
    is_ours = found and (rest == "" or rest[0] in "/?") and ".." not in path and rest.isprintable()
    return _to(request, project_id, rest if is_ours else usual)
