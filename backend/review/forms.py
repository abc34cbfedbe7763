"""What analysts send from the review pages: decisions, flags, tasks to label again, their names."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from backend.errors import BadInput
from backend.http.page_route import read_form
from backend.http.path_ids import ProjectId
from backend.images.connections import Connections
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.flags import LABEL_AGAIN, Flag, Flags, count_flags
from backend.review.pages import Pages
from backend.review.tasks import send_to_labelling
from backend.review.visitor import BASE, MasksQuery, clean_text, remember_analyst, visitor_of
from backend.work.queue import TrainingQueue
from backend.work.train_after import TrainAfter

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRoutes:
    """The handlers over what they need."""

    pages: Pages
    registry: Registry
    connections: Connections
    flags: Flags
    refreshes: TrainingQueue
    trainings: TrainingQueue
    train_after: TrainAfter
    swap: Callable[[], None]  # serve what was decided, at once

    async def decide(self, project_id: ProjectId, request: Request) -> Response:
        """Serve another version from now on."""
        form = await read_form(request)
        visitor = visitor_of(request)
        reason = clean_text(form.get("reason", ""), longest=_LONGEST_REASON)
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
        await asyncio.to_thread(self.swap)
        return _to(request, project_id, "/versions")

    async def refresh(self, project_id: ProjectId, request: Request) -> Response:
        """Ask for fresh masks of the tasks that nobody touched, or end what brings them."""
        is_wanted = (await read_form(request)).get("wanted") != "no"
        await asyncio.to_thread(self.refreshes.request if is_wanted else self.refreshes.cancel, project_id)
        return _to(request, project_id, "")

    async def train(self, project_id: ProjectId, request: Request) -> Response:
        """Ask for a training, or end the training that runs and all that wait."""
        is_wanted = (await read_form(request)).get("wanted") != "no"
        await asyncio.to_thread(self.trainings.request if is_wanted else self.trainings.cancel, project_id)
        return _to(request, project_id, "")

    async def keep_train_after(self, project_id: ProjectId, request: Request) -> Response:
        """Give the project its number of annotations after which it trains by itself."""
        number = (await read_form(request)).get("number", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise BadInput(f"{number[:20]!r} is no number of annotations: write a whole number; 0: never")
        await asyncio.to_thread(self.train_after.keep, project_id, int(number))
        return _to(request, project_id, "")

    async def flag(self, project_id: ProjectId, request: Request) -> Response:
        """Keep what an analyst says of a mask; a script gets the new counts, a form its page again."""
        form, visitor = await read_form(request), visitor_of(request)
        query = MasksQuery(version=form.get("version", ""), prompt=form.get("prompt", ""))
        if query.prompt not in PROMPTS:
            raise BadInput(f"prompt is one of {', '.join(PROMPTS)}")

        def keep() -> JSONResponse:
            item = self.pages.reviewed.object(project_id, query.version, form.get("key", ""))
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
            flags = self.pages.reviewed.flags(project_id, query.version)
            flags = tuple(flag for flag in flags if flag.prompt == query.prompt)
            of_mask = count_flags(flag for flag in flags if flag.key == item.key)
            return JSONResponse({"verdict": form["verdict"], "mask": of_mask, "version": count_flags(flags)})

        counts = await asyncio.to_thread(keep)
        if "application/json" in request.headers.get("accept", ""):
            return counts
        return _back(request, project_id, "/masks")

    async def queue(self, project_id: ProjectId, request: Request) -> Response:
        """Put the tasks whose masks are loose or wrong into a tab of Label Studio's, and go there."""
        form = await read_form(request)
        version = form.get("version", "")

        def send() -> str:
            flags = self.pages.reviewed.flags(project_id, version)
            tasks = [flag.task_id for flag in flags if flag.verdict in LABEL_AGAIN]
            return send_to_labelling(self.connections.label_studio(project_id), project_id, tasks)

        url = await asyncio.to_thread(send)
        # A link, not a redirect: the policy lets a form go nowhere but here, and who sent it may want to stay.
        return HTMLResponse(self.pages.sent(project_id, visitor_of(request), url=url))

    async def analyst(self, project_id: ProjectId, request: Request) -> Response:
        """Remember who flags."""
        name = (await read_form(request)).get("analyst", "")
        response = _back(request, project_id, "")
        remember_analyst(response, name, is_secure=request.url.scheme == "https")
        return response

    def add_to(self, router: APIRouter) -> None:
        """Every path on its handler."""
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
    """To the page that the form was on: its path and query alone, so that nobody is sent elsewhere."""
    here = f"{visitor_of(request).root}/review/{project_id}"
    _, found, rest = request.headers.get("referer", "").partition(f"{request.headers.get('host', '')}{here}")
    path = str(PurePosixPath(rest.partition("?")[0] or "/"))
    is_ours = found and (rest == "" or rest[0] in "/?") and ".." not in path and rest.isprintable()
    return _to(request, project_id, rest if is_ours else usual)
