"""Several hosts on one machine, whose cables can be pulled: network namespaces, or processes behind doors that close.

    with open_network("data", "first", "second") as hosts:
        with hosts["first"].enter():      # what is begun in here runs on that host
            process = subprocess.Popen(...)
        hosts["first"].cut(hosts["data"])  # no packet comes through between the two any more, and nobody is told
        hosts["first"].mend(hosts["data"])

Network namespaces need Linux, root and `ip`. Where they cannot be had, every host is this one, and relays lie
between hosts, which swallow what is sent while either side is cut.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from backend.files.children import bind_to_parent

_CLONE_NEWNET = 0x40000000
_LOOPBACK, _BLOCK = "127.0.0.1", 1 << 16


class Host(Protocol):
    """One of the hosts of a network.

    Attributes:
        name: as the network was asked for it.
        address: what its servers listen on, IPv4.
        namespace: the id of a process in its network namespace; None: it has that of this process.
    """

    name: str
    address: str
    namespace: int | None

    def enter(self) -> AbstractContextManager[None]:
        """Let this thread be on the host: its sockets, and the processes and threads that it starts."""
        ...

    def locate(self, other: "Host", port: int) -> str:
        """The address, "IPv4:port", at which this host reaches the port of the other."""
        ...

    def cut(self, *others: "Host") -> None:
        """Lose every packet that it sends to these hosts, or, without a name, pull its cable. Connections stay open."""
        ...

    def mend(self, *others: "Host") -> None:
        """Undo `cut` with the same hosts."""
        ...


def find_port(host: Host) -> int:
    """A port on which nothing listens there."""
    with host.enter(), socket.socket() as listener:
        listener.bind((host.address, 0))
        return int(listener.getsockname()[1])


@cache
def explain_no_namespaces() -> str | None:
    """Why this process cannot have network namespaces, or None where it can."""
    command = ["unshare", "--net", "ip", "link", "add", "name", "probe0", "type", "veth", "peer", "name", "probe1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as fault:
        return f"no network namespaces: {fault}"
    return f"no network namespaces: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def enter_namespace(pid: int | None) -> Iterator[None]:
    """Let this thread be in the network namespace of a process; with None it stays where it is."""
    if pid is None:
        yield
        return
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{pid}/ns/net").open() as other:
        _set_namespace(other.fileno())
        try:
            yield
        finally:
            _set_namespace(own.fileno())


@contextmanager
def open_network(*names: str, namespaces: bool | None = None) -> Iterator[Mapping[str, Host]]:
    """Hosts of these names, of eight letters at most, all connected with all.

    Args:
        names: the hosts.
        namespaces: whether every host has a network namespace; None: if this process can have them.
    """
    if explain_no_namespaces() is None if namespaces is None else namespaces:
        with _plug_in(names) as hosts:
            yield hosts
    else:
        doors = _Doors()
        try:
            yield {name: _Process(name, doors) for name in names}
        finally:
            doors.close()


@dataclass(frozen=True)
class _Namespace:
    """A host with a network namespace of its own, which lives as long as the process that holds it."""

    name: str
    address: str
    namespace: int
    switch_pid: int

    def enter(self) -> AbstractContextManager[None]:
        return enter_namespace(self.namespace)

    def locate(self, other: Host, port: int) -> str:
        return f"{other.address}:{port}"

    def cut(self, *others: Host) -> None:
        # Packets to an Ethernet address that nobody has are lost without a word; without a route there is an error.
        wrong = "lladdr 02:00:00:00:00:01 nud permanent"
        for other in others:
            _configure(self.namespace, f"neighbour replace {other.address} {wrong} dev eth0")
        if not others:
            _configure(self.switch_pid, f"link set {self.name} down")

    def mend(self, *others: Host) -> None:
        for other in others:
            _configure(self.namespace, f"neighbour del {other.address} dev eth0")
        if not others:
            _configure(self.switch_pid, f"link set {self.name} up")


@contextmanager
def _plug_in(names: tuple[str, ...]) -> Iterator[Mapping[str, Host]]:
    """A namespace for every host, and a cable from it to a switch, which has a namespace too."""
    with ExitStack() as held:
        switch_pid = held.enter_context(_hold_namespace())
        _configure(switch_pid, "link add name switch0 type bridge", "link set switch0 up")
        hosts: dict[str, Host] = {}
        for number, name in enumerate(names, start=1):
            host = _Namespace(name, f"10.77.0.{number}", held.enter_context(_hold_namespace()), switch_pid)
            _configure(
                switch_pid,
                f"link add name {name} type veth peer name eth0 netns {host.namespace}",
                f"link set {name} master switch0 up",
            )
            _configure(host.namespace, "link set lo up", f"address add {host.address}/24 dev eth0", "link set eth0 up")
            hosts[name] = host
        yield hosts


@contextmanager
def _hold_namespace() -> Iterator[int]:
    """The id of a process that does nothing but hold a namespace; it never outlives this one."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"],
        stdout=subprocess.PIPE,
        preexec_fn=bind_to_parent(),  # noqa: PLW1509 - it calls one function of the C library
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _configure(pid: int, *commands: str) -> None:
    """Run commands of `ip` in the namespace of this process."""
    batch = "".join(f"{command}\n" for command in commands)
    subprocess.run(["nsenter", "-t", str(pid), "--net", "ip", "-batch", "-"], input=batch.encode(), check=True)


def _set_namespace(file: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class _Doors:
    """The relays between hosts that are all this one, and which of them swallow what they are given."""

    def __init__(self) -> None:
        self._ports: dict[tuple[str, str, int], int] = {}
        self._cut: set[tuple[str, str]] = set()
        self._listeners: list[socket.socket] = []
        self._changed = threading.Condition()
        self._is_closing = False

    def find(self, here: str, there: str, port: int) -> int:
        """The port of the relay from a host to the port of another."""
        with self._changed:
            if (here, there, port) not in self._ports:
                listener = socket.create_server((_LOOPBACK, 0))
                self._listeners.append(listener)
                self._ports[here, there, port] = int(listener.getsockname()[1])
                threading.Thread(target=self._accept, args=(listener, port, (here, there)), daemon=True).start()
            return self._ports[here, there, port]

    def set_cut(self, here: str, there: str, *, is_cut: bool) -> None:
        """Close or open the way from a host to another, both ways; "" is every other."""
        with self._changed:
            (self._cut.add if is_cut else self._cut.discard)((here, there))
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing in any more, and let what waits at a door come through."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _wait(self, ends: tuple[str, str]) -> None:
        here, there = ends
        ways = {(here, there), (here, ""), (there, "")}
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or not ways & self._cut)

    def _accept(self, listener: socket.socket, port: int, ends: tuple[str, str]) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._join, args=(near, port, ends), daemon=True).start()

    def _join(self, near: socket.socket, port: int, ends: tuple[str, str]) -> None:
        with near, contextlib.suppress(OSError):
            self._wait(ends)
            with socket.create_connection((_LOOPBACK, port)) as far:
                back = threading.Thread(target=self._pump, args=(far, near, ends), daemon=True)
                back.start()
                self._pump(near, far, ends)
                back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, ends: tuple[str, str]) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                self._wait(ends)
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class _Process:
    """A host that is this one, behind doors."""

    name: str
    doors: _Doors = field(repr=False)
    address: str = _LOOPBACK
    namespace: None = None

    def enter(self) -> AbstractContextManager[None]:
        return nullcontext()

    def locate(self, other: Host, port: int) -> str:
        return f"{_LOOPBACK}:{self.doors.find(self.name, other.name, port)}"

    def cut(self, *others: Host) -> None:
        for name in [other.name for other in others] or [""]:
            self.doors.set_cut(self.name, name, is_cut=True)

    def mend(self, *others: Host) -> None:
        for name in [other.name for other in others] or [""]:
            self.doors.set_cut(self.name, name, is_cut=False)
