"""`samloop serve`, `worker` and `up`: what runs for as long as people label."""

import ipaddress
from typing import Annotated

import typer

from backend.cli.console import load_settings
from backend.errors import SettingsError
from backend.settings import Settings

Host = Annotated[
    str, typer.Option(help="Address to listen on; beyond loopback, set BASIC_AUTH_USER and BASIC_AUTH_PASS.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback even without credentials.")]


def serve(host: Host = "127.0.0.1", port: Port = 9090, insecure: Insecure = False) -> None:  # noqa: FBT002 - typer's flags
    """Run the backend alone; needs REDIS_URL."""
    settings = load_settings()
    check_exposure(settings, host=host, insecure=insecure)
    redis_url = _redis_url(settings)
    # Only now, for PyTorch loads: a mistake is told at once.
    from backend.server.app import create_app
    from backend.server.listening import serve as listen
    from backend.work.connection import connect

    app = create_app(settings, connection=connect(redis_url))
    if status := listen(app, settings, host=host, port=port):
        raise typer.Exit(status)


def worker(
    refresh: Annotated[bool, typer.Option("--refresh", help="Refresh pre-annotations instead of training.")] = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Run one worker that trains or, with --refresh, refreshes pre-annotations; needs REDIS_URL.

    Start as many workers as projects should train at the same time, and one more with --refresh.
    """
    from backend.work.jobs import QUEUE, REFRESH_QUEUE, REFRESHING, RUNNABLE
    from finetuner.worker import run_worker

    settings = load_settings()
    run_worker(
        _redis_url(settings),
        allowed=REFRESHING if refresh else RUNNABLE,
        queue=REFRESH_QUEUE if refresh else QUEUE,
    )


def up(host: Host = "127.0.0.1", port: Port = 9090, insecure: Insecure = False) -> None:  # noqa: FBT002 - typer's flags
    """Run everything on one machine: the embedded Valkey (or REDIS_URL), two workers and the backend."""
    from backend.cli.stack import run_stack

    settings = load_settings()
    check_exposure(settings, host=host, insecure=insecure)
    run_stack(settings.replace(insecure=insecure or settings.backend.insecure), host=host, port=port)


def check_exposure(settings: Settings, *, host: str, insecure: bool) -> None:
    """Refuse to open an unguarded backend to a network.

    Raises:
        SettingsError: `host` is not loopback, and there are no credentials.
    """
    if settings.backend.basic_auth_user or insecure or settings.backend.insecure or _is_loopback(host):
        return
    raise SettingsError(
        f"--host {host} would let anybody on that network predict and train: set BASIC_AUTH_USER and BASIC_AUTH_PASS, "
        "or pass --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _redis_url(settings: Settings) -> str:
    if not settings.queue.redis_url:
        raise SettingsError("REDIS_URL is not set: set it, or start `samloop up`, which includes a queue")
    return settings.queue.redis_url
