"""The paths and their handlers. `def` handlers run in threads, so that a slow handler delays no other request.

The map, from the door inwards:

    label_studio  handlers for Label Studio and label-studio-ml
    predicting    answers POST /predict
    projects      handlers to watch and steer a project: status, events, refreshes
"""

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.routing import APIRoute

from backend.http.problems import document_problems
from backend.http.strict_json import strict_route
from backend.server.routes.label_studio import LabelStudioRoutes
from backend.server.routes.projects import ProjectRoutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """All handlers; label-studio-ml's harness calls them too, without HTTP (backend/server/label_studio_ml)."""

    label_studio: LabelStudioRoutes
    projects: ProjectRoutes

    def router(self) -> APIRouter:
        """Return a router with every path."""
        # What the guard answers, whatever the path.
        router = APIRouter(responses=document_problems(401, 403, 413, 415, 500))
        for heading, handlers in (("Label Studio", self.label_studio), ("Projects", self.projects)):
            part = APIRouter(route_class=strict_route(), tags=[heading])
            handlers.add_to(part)
            for route in part.routes:
                if isinstance(route, APIRoute):
                    route.summary = route.description.partition("\n")[0]
            router.include_router(part)
        return router
