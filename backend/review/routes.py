"""The paths of the review pages: pages shows them, forms takes what they send."""

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from backend.errors import BadInput, NotFound, SamloopError
from backend.http.page_route import Gate, page_route
from backend.http.path_ids import ProjectId
from backend.ids import LARGEST_PROJECT_ID, find_project_id
from backend.review.flags import Flags, as_csv
from backend.review.forms import FormRoutes
from backend.review.pages import Pages
from backend.review.pictures import PictureRoutes
from backend.review.visitor import query_of, visitor_of

Name = Annotated[str, Path(max_length=200)]
TaskId = Annotated[int, Path(ge=1, le=LARGEST_PROJECT_ID)]
Text = Annotated[str, Query(max_length=200)]
Number = Annotated[int, Query(ge=1, le=999_999)]
# The report holds its own style and images. It has no script, and the policy allows none.
_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRoutes:
    """The handlers, with the objects they need. `def` handlers run in threads."""

    pages: Pages
    flags: Flags
    pictures: PictureRoutes
    forms: FormRoutes
    gate: Gate

    def projects(self, request: Request) -> Response:
        """Show all projects."""
        return HTMLResponse(self.pages.projects(visitor_of(request)))

    def overview(self, project_id: ProjectId, request: Request) -> Response:
        """Show what is served and what is training."""
        return HTMLResponse(self.pages.overview(project_id, visitor_of(request)))

    def versions(self, project_id: ProjectId, request: Request, a: Text = "", b: Text = "") -> Response:
        """Show all versions, and `a` and `b` side by side."""
        return HTMLResponse(self.pages.versions(project_id, visitor_of(request), first=a, second=b))

    def masks(self, project_id: ProjectId, request: Request) -> Response:
        """Show held-out masks; the query's fields are those of visitor.MasksQuery."""
        return HTMLResponse(self.pages.masks.gallery(project_id, visitor_of(request), query_of(request)))

    def mask(self, project_id: ProjectId, version: Name, key: Name, request: Request) -> Response:
        """Show one mask in full size."""
        query = replace(query_of(request), version=version)
        return HTMLResponse(self.pages.masks.mask(project_id, visitor_of(request), key, query))

    def find_task(self, project_id: ProjectId, request: Request, task: Text = "") -> Response:
        """Lead to the page of a task, by its number."""
        number = task.strip()
        if not (number.isascii() and number.isdecimal()):
            raise BadInput(f"{number[:20]!r} is not the number of a task: Label Studio shows it as ID")
        return RedirectResponse(f"{visitor_of(request).root}/review/{project_id}/tasks/{int(number)}", status_code=303)

    def image(  # noqa: PLR0913 - the fields of the query
        self,
        project_id: ProjectId,
        task_id: TaskId,
        request: Request,
        *,
        version: Text = "",
        image: Number | None = None,
        sha256: Text = "",
    ) -> Response:
        """Show a task's whole image: the first, that of a number, or the one that a version knew by its digest."""
        page = self.pages.images.whole(
            project_id, visitor_of(request), task_id, version=version, number=image, image_sha256=sha256
        )
        return HTMLResponse(page)

    def images(  # noqa: PLR0913 - the fields of the query
        self,
        project_id: ProjectId,
        request: Request,
        *,
        version: Text = "",
        side: Text = "",
        label: Annotated[str, Query(max_length=1000)] = "",
        page: Number = 1,
    ) -> Response:
        """Show the images that a version learnt from or was measured on."""
        shown = self.pages.images.gallery(
            project_id, visitor_of(request), version=version, side=side, label=label, page=page
        )
        return HTMLResponse(shown)

    def data(self, project_id: ProjectId, request: Request, version: Text = "") -> Response:
        """Show what a version learnt from, and which annotations look wrong."""
        return HTMLResponse(self.pages.data(project_id, visitor_of(request), version=version))

    def report(self, project_id: ProjectId, version: Name) -> Response:
        """Show the training's report."""
        return HTMLResponse(
            self.pages.reviewed.report(project_id, version), headers={"Content-Security-Policy": _REPORT_POLICY}
        )

    def decision(self, project_id: ProjectId, request: Request, version: Text) -> Response:
        """Ask for a reason before a promotion or rollback."""
        return HTMLResponse(self.pages.decision(project_id, visitor_of(request), version=version))

    def find_no_page(self, project_id: ProjectId, rest: str) -> Response:
        """Say that there is no such page, on a page that leads to those that there are."""
        raise NotFound(f"project {project_id} has no page {rest[:80]!r}: perhaps the link is old, or was cut off")

    def flags_csv(self, project_id: ProjectId) -> Response:
        """Download every flag that counts."""
        name = f"samloop-flags-{project_id}.csv"
        return Response(
            as_csv(self.flags.current(project_id)),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def router(self) -> APIRouter:
        """Return a router with every path."""
        router = APIRouter(route_class=page_route(self.gate, self._failure), include_in_schema=False)
        router.get("/review", response_model=None)(self.projects)
        for path, handler in (
            ("", self.overview),
            ("/versions", self.versions),
            ("/masks", self.masks),
            ("/masks/{version}/{key}", self.mask),
            ("/tasks", self.find_task),
            ("/tasks/{task_id}", self.image),
            ("/images", self.images),
            ("/data", self.data),
            ("/report/{version}", self.report),
            ("/decide", self.decision),
            ("/flags.csv", self.flags_csv),
        ):
            router.get("/review/{project_id}" + path, response_model=None)(handler)
        self.pictures.add_to(router)
        self.forms.add_to(router)
        router.get("/review/{project_id}/{rest:path}", response_model=None)(self.find_no_page)
        return router

    def _failure(self, request: Request, fault: SamloopError) -> Response:
        if request.method == "GET" and ("/crops/" in request.url.path or request.url.path.endswith("/image")):
            return Response(str(fault), status_code=fault.status, media_type="text/plain")
        project_id = find_project_id(str(request.path_params.get("project_id")))
        is_project = request.url.path.endswith(f"/review/{project_id}")
        if is_project and fault.status == HTTPStatus.NOT_FOUND:
            project_id = None  # the project is missing, and so are its other pages
        return HTMLResponse(self.pages.failure(project_id, visitor_of(request), fault), status_code=fault.status)
