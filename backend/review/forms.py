"""The forms of the review pages: decisions, flags, trainings, refreshes, tasks to label again, analysts' names."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import JsonValue

from backend.errors import BadInput
from backend.http.page_route import read_fields, read_form
from backend.http.path_ids import ProjectId
from backend.images.connections import Connections
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.flags import LABEL_AGAIN, LONGEST_NOTE, Flag, Flags, count_flags
from backend.review.pages import Pages
from backend.review.tasks import send_to_labelling
from backend.review.visitor import BASE, Visitor, clean_text, remember_analyst, visitor_of
from backend.work.queue import TrainingQueue
from backend.work.train_after import TrainAfter

_LONGEST_REASON = 500
_MOST_FLAGGED = 200  # masks of one form: all of a page


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRoutes:
    """The handlers, with the objects they need."""

    pages: Pages
    registry: Registry
    connections: Connections
    flags: Flags
    refreshes: TrainingQueue
    trainings: TrainingQueue
    train_after: TrainAfter
    swap: Callable[[], None]  # serves the decided version at once

    async def decide(self, project_id: ProjectId, request: Request) -> Response:
        """Record a decision: from now on another version is served."""
        form = await read_form(request)
        visitor = visitor_of(request)
        reason = clean_text(form.get("reason", ""), longest=_LONGEST_REASON)
        if not reason:
            raise BadInput("a decision needs a reason that people can read later: go back and write one")
        version, number = form.get("version", ""), form.get("number", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise BadInput("the form lacks the number of the decision before it: open the page again")
        await asyncio.to_thread(
            self.registry.promote,
            project_id,
            None if version == BASE else version,
            reason=f"{reason} ({visitor.analyst}, on the review page)",
            expected=int(number),
        )
        await asyncio.to_thread(self.swap)
        return _to(request, project_id, "/versions")

    async def refresh(self, project_id: ProjectId, request: Request) -> Response:
        """Ask for a refresh of the untouched tasks, or end the refresh that runs."""
        is_wanted = (await read_form(request)).get("wanted") != "no"
        await asyncio.to_thread(self.refreshes.request if is_wanted else self.refreshes.cancel, project_id)
        return _to(request, project_id, "")

    async def train(self, project_id: ProjectId, request: Request) -> Response:
        """Ask for a training, or end the training that runs and all trainings that wait."""
        is_wanted = (await read_form(request)).get("wanted") != "no"
        await asyncio.to_thread(self.trainings.request if is_wanted else self.trainings.cancel, project_id)
        return _to(request, project_id, "")

    async def keep_train_after(self, project_id: ProjectId, request: Request) -> Response:
        """Store after how many changed annotations the project trains by itself."""
        number = (await read_form(request)).get("number", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise BadInput(f"{number[:20]!r} is not a number of annotations: write a whole number; 0 never trains")
        await asyncio.to_thread(self.train_after.keep, project_id, int(number))
        return _to(request, project_id, "")

    async def flag(self, project_id: ProjectId, request: Request) -> Response:
        """Store an analyst's flag of one mask or several. The page's script gets the new counts, a form its page."""
        fields = await read_fields(request, most=_MOST_FLAGGED + 5)
        form, keys = dict(fields), list(dict.fromkeys(value for name, value in fields if name == "key"))
        if form.get("prompt") not in PROMPTS:
            raise BadInput(f"the prompt {form.get('prompt', '')[:40]!r} is not one of {', '.join(PROMPTS)}")
        if not keys:
            raise BadInput("no mask is chosen: tick some, or flag one by its own buttons")
        counts = await asyncio.to_thread(self._store_flags, project_id, visitor_of(request), form, keys)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(counts)
        return _back(request, project_id, "/masks")

    def _store_flags(
        self, project_id: int, visitor: Visitor, form: Mapping[str, str], keys: Sequence[str]
    ) -> dict[str, JsonValue]:
        version, prompt, verdict = form.get("version", ""), form["prompt"], form.get("verdict", "")
        items = [self.pages.reviewed.object(project_id, version, key) for key in keys]
        before = {
            flag.key: flag.note
            for flag in self.pages.reviewed.flags(project_id, version)
            if flag.prompt == prompt and flag.analyst == visitor.analyst
        }
        for item in items:
            flag = Flag(
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                version=version,
                key=item.key,
                prompt=prompt,
                task_id="" if item.task_id is None else str(item.task_id),
                label=item.label,
                analyst=visitor.analyst,
                verdict=verdict,
                note=clean_text(form.get("note", before.get(item.key, "")), longest=LONGEST_NOTE),
            )
            self.flags.add(project_id, flag)
        flags = [flag for flag in self.pages.reviewed.flags(project_id, version) if flag.prompt == prompt]
        of_mask = count_flags(flag for flag in flags if flag.key == items[-1].key)
        return {"verdict": verdict, "mask": dict(of_mask), "version": dict(count_flags(flags))}

    async def queue(self, project_id: ProjectId, request: Request) -> Response:
        """Put the tasks with loose or wrong masks into a tab of Label Studio, and show its link."""
        form = await read_form(request)
        version = form.get("version", "")

        def send() -> str:
            flags = self.pages.reviewed.flags(project_id, version)
            tasks = [flag.task_id for flag in flags if flag.verdict in LABEL_AGAIN]
            return send_to_labelling(self.connections.label_studio(project_id), project_id, tasks)

        url = await asyncio.to_thread(send)
        # A link, not a redirect: the policy keeps forms on this site, and the analyst may want to stay.
        return HTMLResponse(self.pages.render_tab_link(project_id, visitor_of(request), url=url))

    async def analyst(self, project_id: ProjectId, request: Request) -> Response:
        """Remember the analyst's name."""
        name = (await read_form(request)).get("analyst", "")
        response = _back(request, project_id, "")
        remember_analyst(response, name, is_secure=request.url.scheme == "https")
        return response

    def add_to(self, router: APIRouter) -> None:
        """Add every path to the router."""
        for path, handler in (
            ("/decide", self.decide),
            ("/flags", self.flag),
            ("/queue", self.queue),
            ("/analyst", self.analyst),
            ("/refresh", self.refresh),
            ("/train", self.train),
            ("/train-after", self.keep_train_after),
        ):
            router.post("/review/{project_id}" + path, response_model=None)(handler)


def _to(request: Request, project_id: int, path: str) -> RedirectResponse:
    return RedirectResponse(f"{visitor_of(request).root}/review/{project_id}{path}", status_code=303)


def _back(request: Request, project_id: int, usual: str) -> RedirectResponse:
    """Redirect to the page of the form, by its path and query alone: never to another host."""
    here = f"{visitor_of(request).root}/review/{project_id}"
    _, is_here, rest = request.headers.get("referer", "").partition(f"{request.headers.get('host', '')}{here}")
    path = str(PurePosixPath(rest.partition("?")[0] or "/"))
    is_ours = is_here and (rest == "" or rest[0] in "/?") and ".." not in path and rest.isprintable()
    return _to(request, project_id, rest if is_ours else usual)
