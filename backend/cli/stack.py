"""Everything on one machine (`samloop up`): the embedded Valkey, two workers and the server, as child processes.

Stopped in the order server, workers, Valkey: nothing is asked of what has gone. A child that dies is started again
(child).
"""

import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import requests

from backend.cli.child import Child
from backend.cli.console import out
from backend.errors import NotAuthorized, SamloopError, Unavailable
from backend.labelstudio.api.client import LabelStudio
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.jobs import REFRESHES, TRAINING
from backend.work.queue import count_listeners

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_LAST_PORT = 65535
_VALKEY_S = 5.0  # a queue that takes longer to load is waited for at the next look
_HEALTH_S = 2.0  # a server that takes longer to answer is asked again at the next look


def run_stack(settings: Settings, *, host: str, port: int) -> None:
    """Run until SIGINT or SIGTERM, then stop everything.

    Raises:
        Unavailable: the port is taken, the embedded Valkey cannot be started, or a child has failed at its start three
            times.
    """
    port = find_port(host, port)
    stopping = threading.Event()
    with _stop_by_signals(stopping), ExitStack() as opened:
        valkey = None if settings.queue.redis_url else opened.enter_context(Valkey(settings.queue.dir))
        redis_url = settings.queue.redis_url or (valkey.start() if valkey else "")
        environ, url = os.environ | {"REDIS_URL": redis_url}, _own_url(host, port)
        serve = ["serve", "--host", host, "--port", str(port), *(["--insecure"] if settings.backend.insecure else [])]
        # Its own address, not SAMLOOP_BACKEND_URL, which is Label Studio's way to here and may lead through a proxy.
        refreshing = environ | {"SAMLOOP_BACKEND_URL": url}
        children = [
            Child("worker", ["worker"], environ),
            Child("refresh worker", ["worker", "--refresh"], refreshing),
            Child("server", serve, environ),
        ]
        for child in children:
            opened.callback(child.stop)
        log.info("starting samloop on %s", url, extra={"event": "stack.started"})
        is_ready = False
        while not stopping.is_set():
            if valkey is not None:
                _keep_running(valkey, stopping)
            for child in children:
                child.keep_running()
            if not is_ready and (is_ready := _are_ready(children, url=url, redis_url=redis_url)):
                # A Label Studio that does not answer must not keep the children from being watched.
                threading.Thread(target=_tell_next, args=(settings,), kwargs={"url": url}, daemon=True).start()
            stopping.wait(_LOOK_S)


def find_port(host: str, port: int) -> int:
    """Return the port that a server may listen on now: this one, or for 0 any that is free.

    Raises:
        Unavailable: another program has it, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as fault:
        if isinstance(fault, socket.gaierror) or fault.errno == errno.EADDRNOTAVAIL:
            step = "give --host an address of this machine, such as 127.0.0.1"
        elif fault.errno == errno.EADDRINUSE:
            step = (
                f"another program listens there, a `samloop up` perhaps: stop it, or choose another port (--port "
                f"{port + 1 if port < _LAST_PORT else port - 1})"
            )
        else:
            step = "choose another port, above 1023"
        raise Unavailable(f"cannot listen on {host} port {port} ({fault.strerror or fault}): {step}") from fault


def _are_ready(children: Sequence[Child], *, url: str, redis_url: str) -> bool:
    """Whether every child has begun its work: the server answers, its model is there, and both workers listen."""
    try:
        health = requests.get(f"{url}/health", timeout=_HEALTH_S).json()
        connection = connect(redis_url)
        ready = (
            health.get("model") == "ready"
            and count_listeners(connection, work=TRAINING) > 0
            and count_listeners(connection, work=REFRESHES) > 0
        )
    except (requests.RequestException, ValueError, Unavailable):
        return False
    if ready:
        for child in children:
            child.has_begun = True
    return ready


def _tell_next(settings: Settings, *, url: str) -> None:
    """Where it is, and what people do first."""
    step = find_next_step(settings)
    out.print(
        f"ready; next: {step}. The backend is on {url}, its pages are on {url}/review, and Ctrl-C stops everything",
    )


def find_next_step(settings: Settings) -> str:
    """Ask Label Studio who we are, and return what people do first: connect a project, or mend what it answered."""
    told = settings.label_studio
    if not told.url or not told.api_key:
        return "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and start this again"
    connect_project = "`samloop connect --project N` introduces a Label Studio project to it"
    try:
        LabelStudio(told.url, told.api_key).whoami()
    except NotAuthorized as fault:
        return f"{fault}; then start this again"
    except SamloopError as fault:
        return f"{fault} Once it answers, {connect_project}"
    return connect_project


def _own_url(host: str, port: int) -> str:
    """Return the server's address for this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _keep_running(valkey: Valkey, stopping: threading.Event) -> None:
    """Restart a Valkey that died, without waiting so long that a signal or another child's death goes unnoticed."""
    if valkey.alive():
        return
    try:
        log.warning("the embedded Valkey cannot be reached; starting it again", extra={"event": "valkey.died"})
        valkey.start(longest_s=_VALKEY_S, is_stopping=stopping.is_set)
    except Unavailable as fault:
        log.error("%s", fault, extra={"event": "valkey.failed"})  # noqa: TRY400 - the sentence is the whole story


@contextmanager
def _stop_by_signals(stopping: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
