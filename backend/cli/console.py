"""What every command shares: logging, error messages, and output as JSON or a table."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.models import OptionInfo

from backend.errors import SamloopError
from backend.ids import LARGEST_PROJECT_ID
from backend.redaction import redact
from backend.settings import Settings, report_unknown_variables


class Lines(Console):
    """A console that prints texts as they are: no markup, no colours, and no line breaks, since terminals wrap lines.

    Tables fit the terminal.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False)

    def print(self, *objects: object, **how: Any) -> None:  # noqa: ANN401 - as rich's
        """Print as rich does."""
        super().print(*objects, **{"soft_wrap": all(isinstance(shown, str) for shown in objects), **how})


out, err = Lines(), Lines(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def project_option(says: str) -> OptionInfo:
    """Return the option `--project`; its help `says` what the command does with the project."""
    option: OptionInfo = typer.Option("--project", "-p", min=1, max=LARGEST_PROJECT_ID, help=says)
    return option


ProjectOption = Annotated[int, project_option("Id of the Label Studio project.")]


class JsonLines(logging.Formatter):
    """A JSON object a line: `at`, `level`, `logger`, `message`, a traceback in `error`, and what the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        told = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **({"error": redact(self.formatException(record.exc_info))} if record.exc_info else {}),
        }
        told = {name: redact(value) if isinstance(value, str) else value for name, value in told.items()}
        return json.dumps({**told, **line}, default=lambda value: redact(str(value)))


class PlainLines(logging.Formatter):
    """A line of text an event, with its traceback below it; addresses hold no secret."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The text."""
        return redact(super().format(record))


_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def setup_logging(level: str, *, as_json: bool = False) -> None:
    """Log to stderr, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their debug lines print request headers, and so tokens.
    for chatty in ("urllib3", "httpx", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # RQ's workers say so every few seconds, whatever they find.
    logging.getLogger("rq.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).endswith(("cleaning group registries", "cleaning registries for queue: %s"))


def load_settings() -> Settings:
    """Read the environment's settings, and set up logging by them."""
    settings = Settings.from_env()
    setup_logging(settings.backend.log_level, as_json=settings.backend.log_format == "json")
    for sentence in report_unknown_variables():
        logging.getLogger(__name__).warning("%s", sentence)
    return settings


@contextmanager
def report_plainly() -> Iterator[None]:
    """End the program with one sentence on an error of ours. Any other error is a bug and keeps its traceback."""
    try:
        yield
    except SamloopError as failure:
        err.print(f"samloop: {failure}", style="bold red")
        raise SystemExit(1) from failure
    except ImportError as fault:
        if (sentence := explain_torchvision(fault)) is None:
            raise
        err.print(f"samloop: {sentence}", style="bold red")
        raise SystemExit(1) from fault
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def explain_torchvision(fault: ImportError) -> str | None:
    """Return the sentence for a torchvision that keeps transformers from being imported; None for any other fault.

    samloop itself does not import torchvision. transformers does wherever it is installed, which timm brings about; and
    a torchvision for another build of PyTorch (such as the one for CUDA) fails as it is imported.
    """
    reason: BaseException = fault
    while reason.__cause__ is not None:
        reason = reason.__cause__
    if "torchvision" not in str(reason):
        return None
    return (
        f"torchvision does not fit PyTorch {metadata.version('torch')}, so no model can be loaded ({reason}): install "
        "the torchvision of the same version and build (https://pytorch.org/get-started/locally), or run "
        "`pip uninstall torchvision timm`; only edgetam needs them"
    )


def find_program() -> str:
    """Return how a shell starts this program: "samloop" where PATH has it, else the path that was typed."""
    typed = sys.argv[0]
    return typed if Path(typed).name == "samloop" and shutil.which("samloop") is None else "samloop"


def print_json(value: object) -> None:
    """Print one line of JSON to stdout."""
    sys.stdout.write(json.dumps(value) + "\n")


def show(value: object, *, as_json: bool, table: Callable[[], None]) -> None:
    """Print JSON for programs or a table for people."""
    if as_json:
        print_json(value)
    else:
        table()


def write_time(iso: str) -> str:
    """Return a time of ISO 8601 as a local time with minutes; in a narrow column it breaks between day and time."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def write_figure(value: float | None) -> str:
    """Return a figure such as an IoU with three digits."""
    return "none" if value is None else f"{value:.3f}"
