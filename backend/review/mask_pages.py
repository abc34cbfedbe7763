"""The pages of held-out masks: the gallery of a version's masks, and one mask in full size."""

from collections.abc import Callable
from dataclasses import replace

from backend.errors import BadInput
from backend.registry.protocol import Registry
from backend.registry.review_file import PROMPTS
from backend.review.cards import SORTS, edge_window, sort_cards
from backend.review.flags import count_flags
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
            BadInput: the prompt or the sort is unknown.
        """
        if query.prompt not in PROMPTS or query.sort not in SORTS:
            raise BadInput(f"the prompt must be one of {', '.join(PROMPTS)}, and the sort one of {', '.join(SORTS)}")
        manifests = self._registry.versions(project_id)
        if not manifests:
            return self._renderer.render(
                "masks.html", project_id, visitor, query=query, manifests=(), shown=(), flags={}
            )
        chosen = query.version or self._reviewed.usual_version(project_id, manifests)
        flags = self._reviewed.flags(project_id, chosen)
        cards = self._reviewed.cards(project_id, visitor, replace(query, version=chosen), flags=flags)
        wanted = [card for card in cards if not query.label or card.item.label == query.label]
        if query.flag:
            wanted = [card for card in wanted if any(flag.verdict == query.flag for flag in card.flags)]
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
            total=len(wanted),
            shown=sort_cards(wanted, sort=query.sort)[first : first + A_PAGE],
            last_page=-(-len(wanted) // A_PAGE),
            flags=count_flags(flag for flag in flags if flag.prompt == query.prompt),
            opposite=query.against or self._base_version(),
            kept=bool(self._reviewed.objects(chosen)),
        )

    def mask(self, project_id: int, visitor: Visitor, key: str, query: MasksQuery) -> str:
        """Render one object in full size, and the part of its edge that is worst.

        Raises:
            NotFound: the project has no such version, or the version was not measured on this object.
            BadInput: the prompt is unknown.
        """
        if query.prompt not in PROMPTS:
            raise BadInput(f"the prompt {query.prompt[:40]!r} is not one of {', '.join(PROMPTS)}")
        card = self._reviewed.card(project_id, visitor, key, query)
        around = sort_cards(
            self._reviewed.cards(project_id, visitor, query),
            sort=query.sort if query.sort in SORTS else "tightened",
        )
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
            edge_outlines=edge and card.outlines(longest_px=_DETAIL_PX, window=edge),
            before=around[place - 1].item.key if place else None,
            place=place + 1,
            total=len(around),
            after=around[place + 1].item.key if place + 1 < len(around) else None,
            opposite=query.against or self._base_version(),
        )
