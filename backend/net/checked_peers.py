"""Connections of `requests` that never reach an address that the URL policy refuses, whatever its name resolves to."""

import socket
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CheckPeer = Callable[[str], None]


class CheckedPeers(HTTPAdapter):
    """Checks the address of every connection before a byte is sent.

    Args:
        check: raises for an address that the policy refuses.
    """

    def __init__(self, check: CheckPeer) -> None:
        self._check = check
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - as requests'
        """Make pools whose connections are checked."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = _make_pools(self._check)


def _make_pools(check: CheckPeer) -> dict[str, type[HTTPConnectionPool]]:
    def check_socket(sock: socket.socket) -> socket.socket:
        try:
            check(str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return check_socket(super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return check_socket(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
