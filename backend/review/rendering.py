"""Fills in templates, with what every page shows around its content."""

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backend.amounts import write_amount
from backend.charts.chart import add_charts
from backend.ids import shorten_version
from backend.images.connections import Connections
from backend.review.flags import VERDICTS
from backend.review.projects.facts import ProjectFacts
from backend.review.tasks import project_url, task_url
from backend.review.visitor import Visitor
from backend.work.progress import write_duration

_NONE = "\N{EN DASH}"


class Renderer:
    """Renders templates. Thread-safe.

    Args:
        connections: the Label Studios that tasks link to.
        base_version: the base model's name.
        recall: Label Studio's last facts about a project, without asking again.
    """

    def __init__(
        self,
        *,
        connections: Connections,
        base_version: Callable[[], str],
        recall: Callable[[int], ProjectFacts | None],
    ) -> None:
        self._connections, self.base_version, self._recall = connections, base_version, recall
        self._templates = Environment(
            loader=add_charts(PackageLoader("backend.review", "templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "amount": write_amount,
            "figure": _figure,
            "signed": _format_signed,
            "tone": _tone,
            "short": shorten_version,
            "moment": _moment,
            "span": write_duration,
        }

    def render(self, template: str, project_id: int | None, visitor: Visitor, **shown: object) -> str:
        """Return the page; `shown` are the variables of this template."""
        studio = self._connections.label_studio(project_id) if project_id else None
        facts = self._recall(project_id) if project_id else None
        return self._templates.get_template(template).render(
            project=project_id,
            project_title=facts.title if facts else None,
            project_url=project_url(studio, project_id) if project_id else None,
            visitor=visitor,
            here=f"{visitor.root}/review/{project_id}",
            static=f"{visitor.root}/review/static",
            root=visitor.root,
            page=template.removesuffix(".html"),
            base_version=self.base_version(),
            verdicts=VERDICTS,
            task_url=lambda task_id: task_url(studio, project_id, task_id) if project_id else None,
            **shown,
        )


def _figure(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _moment(at: str) -> Markup:
    """Show a moment (ISO 8601, UTC) in UTC; the pages' script turns it into the reader's local time."""
    shown = f"{at[:10]} {at[11:16]} UTC"
    return Markup('<time datetime="{}">{}</time>').format(at, shown)


def _format_signed(value: float | None, digits: int = 3) -> str:
    """Format a difference as in +0.021, with a true minus sign; a value that rounds to zero has no sign."""
    if value is None:
        return _NONE
    shown = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return shown[1:] if float(f"{value:.{digits}f}") == 0 else shown


def _tone(value: float | None) -> str:
    """The CSS class of a difference where more is better: "better", "worse", or "" where it is shown as zero."""
    if value is None or float(f"{value:.3f}") == 0:
        return ""
    return "better" if value > 0 else "worse"
