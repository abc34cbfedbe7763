"""Who asks: the paths and their handlers. `def` handlers run in threads, so that a slow one holds nobody up.

The map, from the door inwards:

    label_studio  what Label Studio and label-studio-ml call
    predicting    what POST /predict does
    projects      what people watch and steer a project by: status, events, refreshes
"""

from dataclasses import dataclass

from fastapi import APIRouter

from backend.http.strict_json import strict_route
from backend.server.routes.label_studio import LabelStudioRoutes
from backend.server.routes.projects import ProjectRoutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """All handlers; label-studio-ml's harness calls them too, without HTTP (backend/server/label_studio_ml)."""

    label_studio: LabelStudioRoutes
    projects: ProjectRoutes

    def router(self) -> APIRouter:
        """Every path on its handler."""
        router = APIRouter(route_class=strict_route())
        self.label_studio.add_to(router)
        self.projects.add_to(router)
        return router
