"""The application behind a port: bounded connections, and an end that leaves nobody without an answer."""

import socket

import uvicorn
from fastapi import FastAPI

from backend.http.doorkeeper import BACKLOG, Doorkeeper, Limits, affordable_connections, connections_of
from backend.settings import Settings

_GRACE_S = 20  # for what is being answered; it is less than a supervisor waits before it kills


class Server(uvicorn.Server):
    """uvicorn, which tells the application first that it ends: event streams close, and what waits is refused."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as soon as all that is being answered has its answer."""
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.drain()
        await super().shutdown(sockets)


def server_of(app: FastAPI, settings: Settings, *, host: str, port: int, limits: Limits | None = None) -> Server:
    """The server, which listens once it is run.

    Args:
        app: from `create_app`.
        settings: how many connections may stand open.
        host: the address to listen on.
        port: 0 takes any that is free.
        limits: of connections; None: as the settings and the system allow.
    """
    limits = limits or Limits(connections=affordable_connections(settings.backend.connections))
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            http=connections_of(Doorkeeper(limits)),
            ws="none",
            backlog=BACKLOG,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def serve(app: FastAPI, settings: Settings, *, host: str, port: int) -> int:
    """Answer until SIGINT or SIGTERM; the exit status: 3, as uvicorn's own, where it could not begin."""
    server = server_of(app, settings, host=host, port=port)
    server.run()
    return 0 if server.started else 3
