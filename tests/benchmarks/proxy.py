"""Servers on hosts, and a proxy in front of them that does what docker/Caddyfile asks of Caddy."""

import math
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import requests
from benchmarks.annotators import Counts
from requests.adapters import HTTPAdapter
from support.hosts import Host
from support.quick_start import start_samloop
from urllib3.connection import HTTPConnection

_TRIES_S, _TRY_AGAIN_S, _LEFT_OUT_S = 10.0, 0.2, 3.0  # as docker/Caddyfile
_DIAL_S, _ANSWER_S = 1.0, 100.0  # Label Studio waits for an answer so long
# A host without power answers no probe, and after 20 s the connection to it is given up.
_PROBES = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
]


class _Probing(HTTPAdapter):
    """Notices that the other end of a connection has died while an answer is awaited."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, socket_options=_PROBES)


@dataclass
class Server:
    """`samloop serve` on a host."""

    host: Host
    port: int
    environ: dict[str, str]
    log: Path
    process: BaseProcess | None = None
    died_at_s: float = 0.0

    @property
    def url(self) -> str:
        """Where it answers. Not through a door: that would take what a server that is down refuses."""
        return f"http://{self.host.address}:{self.port}"

    def start(self) -> None:
        """Start it."""
        self.log.touch()
        arguments = ("serve", "--host", self.host.address, "--port", str(self.port), "--insecure")
        self.process = start_samloop(*arguments, host=self.host, environ=self.environ, log=self.log)

    def is_ready(self) -> bool:
        """Whether it answers and has its model."""
        assert self.process is not None
        assert self.process.is_alive(), f"the server ended: {self.log.read_text()[-3000:]}"
        with self.host.enter(), suppress(requests.RequestException):
            return bool(requests.get(f"{self.url}/health", timeout=_DIAL_S).json()["model"] == "ready")
        return False

    def end(self, *, in_peace: bool) -> None:
        """End it by SIGTERM, or by SIGKILL."""
        if self.process is None:
            return
        if in_peace:
            self.process.terminate()
        else:
            self.died_at_s = math.inf
            self.process.kill()
        self.process.join(60)
        assert not self.process.is_alive(), f"the server did not end: {self.log.read_text()[-3000:]}"
        self.died_at_s = 0.0 if in_peace else time.monotonic()


class Proxy:
    """What stands in front of the servers, and asks the next where a connection to one cannot be had."""

    def __init__(self, servers: Sequence[Server], *, host: Host, counts: Counts) -> None:
        self._servers, self._host, self._counts = servers, host, counts
        self._left_out_until_s: dict[str, float] = {}
        self._next = 0

    def send(self, body: dict[str, object], *, path: str = "/predict") -> requests.Response | None:
        """The answer of a server; None, and counted, where there is none."""
        until_s = time.monotonic() + _TRIES_S
        while time.monotonic() < until_s:
            if (server := self._choose()) is None:
                time.sleep(_TRY_AGAIN_S)
                continue
            began_s = time.monotonic()
            try:
                with self._host.enter(), requests.Session() as session:
                    session.mount("http://", _Probing())
                    return session.post(f"{server.url}{path}", json=body, timeout=(_DIAL_S, _ANSWER_S))
            except requests.RequestException as fault:
                if _was_refused(fault):
                    self._left_out_until_s[server.url] = time.monotonic() + _LEFT_OUT_S
                    self._counts.add("connections that the proxy tried elsewhere")
                    continue
                if server.died_at_s > began_s:
                    self._counts.add("clicks that died with their host")
                else:
                    waited_s, told = time.monotonic() - began_s, server.log.read_text()[-2000:]
                    self._counts.fail(f"{server.host.name} after {waited_s:.0f} s: {fault!r}\n{told}")
                return None
        self._counts.fail(f"no server could be connected to for {_TRIES_S:.0f} s")
        return None

    def has_server(self) -> bool:
        """Whether a server has its model."""
        return any(server.process is not None and server.is_ready() for server in self._servers)

    def _choose(self) -> Server | None:
        now_s = time.monotonic()
        able = [server for server in self._servers if self._left_out_until_s.get(server.url, 0.0) < now_s]
        self._next += 1
        return able[self._next % len(able)] if able else None


def _was_refused(fault: requests.RequestException) -> bool:
    """Whether no connection came about, so that nothing of the request was sent."""
    if isinstance(fault, requests.ConnectTimeout):
        return True
    reason = getattr(fault.args[0], "reason", None) if fault.args else None
    return type(reason).__name__ == "NewConnectionError"
