"""The application behind a port: bounded connections, and a shutdown that answers every open request."""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from backend.http.doorkeeper import BACKLOG, Doorkeeper, Limits, affordable_connections, connections_of
from backend.settings import Settings

_GRACE_S = 20  # for open requests; less than a supervisor waits before it kills


class Server(uvicorn.Server):
    """A uvicorn server that warns the application of its end: event streams close, and waiting requests are refused.

    Before that it lets nobody in any more, and waits for what is on its way: a client that has just connected would
    otherwise see its connection closed, and could not tell whether its request was carried out.
    """

    arriving_s = 0.5  # from a connection to its request, s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End once every open request has its answer."""
        for listener in self.servers:
            listener.close()
        await asyncio.sleep(self.arriving_s)
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.drain()
        await super().shutdown(sockets)


def server_of(app: FastAPI, settings: Settings, *, host: str, port: int, limits: Limits | None = None) -> Server:
    """Build the server, which listens once it runs.

    Args:
        app: from `create_app`.
        settings: how many connections may stand open.
        host: the address to listen on.
        port: the port; 0: any free port.
        limits: of connections; None: as the settings and the system allow.
    """
    limits = limits or Limits(
        connections=affordable_connections(settings.backend.connections),
        per_address=settings.backend.connections_per_address,
    )
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
    """Serve until SIGINT or SIGTERM and return the exit status: 3, as uvicorn's, where it could not start."""
    server = server_of(app, settings, host=host, port=port)
    server.run()
    return 0 if server.started else 3
