"""The images below the masks, and the pages' style, script and icon."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from PIL import Image

from backend.errors import NotFound
from backend.http.admission import Admission
from backend.http.path_ids import ProjectId
from backend.ids import shorten_version
from backend.images.connections import Connections
from backend.labelstudio.task_data import find_address
from backend.redaction import HIDDEN
from backend.registry.image_file import VIEW_PX
from backend.review.masks.cards import edge_window
from backend.review.masks.choosing import check_query
from backend.review.masks.crops import SIZES_PX, Crops
from backend.review.masks.drawing import draw_picture
from backend.review.pages import Pages
from backend.review.visitor import MasksQuery, Visitor, query_of, visitor_of

Name = Annotated[str, Path(max_length=200)]
_STATIC = {"review.css": "text/css", "review.js": "text/javascript", "icon.svg": "image/svg+xml"}
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # a version's images never change
_MOST_NEIGHBOURS = 64  # objects on the same image, whose crops are cut while the image is decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRoutes:
    """The handlers, with the objects they need."""

    pages: Pages
    connections: Connections
    crops: Crops
    admission: Admission

    async def crop(self, project_id: ProjectId, version: Name, key: Name, size_px: int) -> Response:
        """Return the image below a mask, from threads of its own: a page asks for hundreds, and images may be slow."""
        return await self.admission.run(lambda: self._crop(project_id, version, key, size_px))

    def _crop(self, project_id: int, version: str, key: str, size_px: int) -> Response:
        if size_px not in SIZES_PX:
            raise NotFound(f"a size of {size_px} px is not one of {', '.join(map(str, SIZES_PX))} px")
        item = self.pages.reviewed.object(project_id, version, key)
        fetch = self._fetch(project_id, item.image_uri, item.task_id)
        data = self.crops.crop(
            item.image_sha256,
            item.window,
            size_px=size_px,
            fetch=fetch,
            beside=[
                item_beside.window
                for item_beside in self.pages.reviewed.objects_beside(project_id, version, item)[:_MOST_NEIGHBOURS]
            ],
        )
        return Response(data, media_type="image/webp", headers=_KEPT)

    async def edge(
        self, project_id: ProjectId, version: Name, key: Name, request: Request, prompt: Literal["box", "point"] = "box"
    ) -> Response:
        """Return the image below the worst part of a mask's edge."""
        return await self.admission.run(lambda: self._edge(project_id, version, key, request, prompt))

    def _edge(self, project_id: int, version: str, key: str, request: Request, prompt: str) -> Response:
        query = MasksQuery(version=version, prompt=prompt)
        card = self.pages.reviewed.card(project_id, visitor_of(request), key, query)
        if (window := edge_window(card)) is None:
            raise NotFound("this mask has no worst edge: version and annotator drew the same")
        fetch = self._fetch(project_id, card.item.image_uri, card.item.task_id)
        data = self.crops.crop(card.item.image_sha256, window, size_px=SIZES_PX[1], fetch=fetch)
        return Response(data, media_type="image/webp", headers=_KEPT)

    async def draw(self, project_id: ProjectId, version: Name, key: Name, request: Request) -> Response:
        """Return a mask as one image to download: the image, the outlines, the prompt."""
        query = replace(query_of(request), version=version)
        check_query(query)
        return await self.admission.run(lambda: self._draw(project_id, key, visitor_of(request), query))

    def _draw(self, project_id: int, key: str, visitor: Visitor, query: MasksQuery) -> Response:
        card = self.pages.reviewed.card(project_id, visitor, key, query)
        fetch = self._fetch(project_id, card.item.image_uri, card.item.task_id)
        part = self.crops.crop(card.item.image_sha256, card.item.window, size_px=SIZES_PX[-1], fetch=fetch)
        data = draw_picture(
            card,
            Image.open(io.BytesIO(part)),
            opposite=shorten_version(query.against) if query.against else "base model",
            version=shorten_version(query.version),
        )
        name = f"samloop-{shorten_version(query.version)}-{key}-{query.prompt}.png"
        return Response(data, media_type="image/png", headers={"Content-Disposition": f'attachment; filename="{name}"'})

    async def whole(
        self, project_id: ProjectId, task_id: Annotated[int, Path(ge=1)], image: Annotated[int, Query(ge=1)] = 1
    ) -> Response:
        """Return a task's whole image, of several the one of this number."""
        data = await self.admission.run(lambda: self.pages.images.picture(project_id, task_id, number=image))
        return Response(data, media_type="image/webp")

    async def learnt(self, project_id: ProjectId, version: Name, sha256: Name) -> Response:
        """Return an image of a version's training, small."""
        return await self.admission.run(lambda: self._learnt(project_id, version, sha256))

    def _learnt(self, project_id: int, version: str, sha256: str) -> Response:
        image = self.pages.reviewed.image(project_id, version, sha256)
        data = self.crops.crop(
            sha256,
            (0, 0, image.height_px, image.width_px),
            size_px=VIEW_PX,
            fetch=self._fetch(project_id, image.image_uri, image.task_id),
        )
        return Response(data, media_type="image/webp", headers=_KEPT)

    def static(self, name: Name) -> Response:
        """Return the style, the script or the icon."""
        if name not in _STATIC:
            raise NotFound(f"there is no file {name[:60]!r}")
        data = (resources.files("backend.review") / "static" / name).read_bytes()
        return Response(data, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})

    def add_to(self, router: APIRouter) -> None:
        """Add every path to the router."""
        router.get("/review/static/{name}")(self.static)
        router.get("/review/{project_id}/tasks/{task_id}/image", response_model=None)(self.whole)
        router.get("/review/{project_id}/crops/{version}/images/{sha256}", response_model=None)(self.learnt)
        here = "/review/{project_id}/crops/{version}/{key}"
        router.get(f"{here}/edge", response_model=None)(self.edge)
        router.get(f"{here}/drawn", response_model=None)(self.draw)
        router.get(here + "/{size_px}", response_model=None)(self.crop)

    def _fetch(self, project_id: int, uri: str | None, task_id: int | str | None) -> Callable[[], bytes]:
        if uri is None:
            raise NotFound("the version was stored without the image's address, which was too long")
        number = task_id if isinstance(task_id, int) else None
        images = self.connections.images(project_id)
        if HIDDEN not in uri:
            return lambda: images.fetch(uri, task_id=number)
        return lambda: images.fetch(self._whole_address(project_id, uri, number), task_id=number)

    def _whole_address(self, project_id: int, shown: str, task_id: int | None) -> str:
        """The address that the task has today: versions store no signatures, which expire anyway."""
        label_studio = self.connections.label_studio(project_id)
        if label_studio is None or task_id is None:
            raise NotFound(f"{shown[:200]} was stored without its query, and Label Studio cannot be asked for it")
        address = find_address(label_studio.task(task_id).get("data"), shown)
        if address is None:
            raise NotFound(f"task {task_id} in Label Studio no longer has the address {shown[:200]}")
        return address
