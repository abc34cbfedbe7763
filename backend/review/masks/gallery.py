"""The pages of held-out masks: the gallery of a version's masks, and one mask in full size."""

from collections.abc import Callable
from dataclasses import replace

from backend.registry.protocol import Registry
from backend.review.flags import count_flags
from backend.review.masks.cards import Card, edge_window
from backend.review.masks.choosing import NOTED, SCORES, SIZES, SORTS, check_query, choose_cards, sort_cards
from backend.review.masks.crops import Window
from backend.review.masks.history import trace_object
from backend.review.rendering import Renderer
from backend.review.reviewed import ReviewedVersions
from backend.review.visitor import MasksQuery, Visitor

A_PAGE = 200  # masks on a page of the gallery
_DETAIL_PX = 640


class MaskPages:
    """Renders the pages of masks. Thread-safe."""

    def __init__(
        self,
        *,
        registry: Registry,
        reviewed: ReviewedVersions,
        renderer: Renderer,
        base_version: Callable[[], str],
    ) -> None:
        self._registry, self._reviewed, self._renderer = registry, reviewed, renderer
        self._base_version = base_version

    def gallery(self, project_id: int, visitor: Visitor, query: MasksQuery) -> str:
        """Render a version's held-out masks beside another version's, sorted as the query says.

        Raises:
            NotFound: the project has no such version.
            BadInput: the prompt, the sort or a filter is unknown.
        """
        check_query(query)
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._renderer.render(
                "masks.html", project_id, visitor, query=query, manifests=(), shown=(), flags={}
            )
        chosen = query.version or self._reviewed.usual_version(project_id, manifests)
        flags = self._reviewed.flags(project_id, chosen)
        cards = self._reviewed.cards(project_id, visitor, replace(query, version=chosen), flags=flags)
        wanted = choose_cards(cards, query)
        first = (query.page - 1) * A_PAGE
        return self._renderer.render(
            "masks.html",
            project_id,
            visitor,
            query=query,
            chosen=chosen,
            manifests=manifests,
            labels=sorted({card.item.label for card in cards}),
            sorts=SORTS,
            sizes=SIZES,
            scores=SCORES,
            noted=NOTED,
            total=len(wanted),
            first=first,
            shown=wanted[first : first + A_PAGE],
            last_page=-(-len(wanted) // A_PAGE),
            flags=count_flags(flag for flag in flags if flag.prompt == query.prompt),
            opposite=query.against or self._base_version(),
            kept=bool(self._reviewed.objects(chosen)),
        )

    def mask(self, project_id: int, visitor: Visitor, key: str, query: MasksQuery) -> str:
        """Render one object in full size, and the part of its edge that is worst.

        Raises:
            NotFound: the project has no such version, or the version was not measured on this object.
            BadInput: the prompt, the sort or a filter is unknown.
        """
        check_query(query)
        card = self._reviewed.card(project_id, visitor, key, query)
        around = self._around(project_id, visitor, card, query)
        place = next(index for index, neighbour in enumerate(around) if neighbour.item.key == key)
        edge = edge_window(card)
        return self._renderer.render(
            "mask.html",
            project_id,
            visitor,
            card=card,
            query=query,
            outlines=card.outlines(longest_px=_DETAIL_PX),
            edge=edge,
            worst=edge and _place_worst(card, edge),
            history=trace_object(
                key, self._registry.versions(project_id), prompt=query.prompt, objects=self._reviewed.objects
            ),
            edge_outlines=edge and card.outlines(longest_px=_DETAIL_PX, window=edge),
            before=around[place - 1].item.key if place else None,
            place=place + 1,
            total=len(around),
            after=around[place + 1].item.key if place + 1 < len(around) else None,
            opposite=query.against or self._base_version(),
        )

    def _around(self, project_id: int, visitor: Visitor, card: Card, query: MasksQuery) -> list[Card]:
        """The masks that the query asks for; all masks where this one no longer passes its filters."""
        flags = self._reviewed.flags(project_id, query.version)
        found = self._reviewed.cards(project_id, visitor, query, flags=flags)
        wanted = choose_cards(found, query)
        is_among = any(neighbour.item.key == card.item.key for neighbour in wanted)
        return wanted if is_among else sort_cards(found, sort=query.sort)


def _place_worst(card: Card, edge: Window) -> tuple[float, float]:
    """The middle of the worst edge as shares of the object's window, across and down."""
    (top, left, height, width), (y0, x0, tall, wide) = card.item.window, edge
    return round((x0 + wide / 2 - left) / width, 3), round((y0 + tall / 2 - top) / height, 3)
