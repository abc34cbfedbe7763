"""Runs a real Label Studio as a child process, and stops it by its process id.

Its environment was tried with 1.23.2: it allows backends on loopback, has a legacy token and a known user, and sends no
telemetry.
"""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from backend.errors import Unavailable
from backend.files.children import end, start

USER = "demo@example.com"
START_S = 400.0  # half a minute on a quiet machine, several on a busy one
STOP_S = 10.0
_LOG_LINES_SHOWN = 15


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LabelStudioProcess:
    """One Label Studio on 127.0.0.1 with one administrator; a context manager that starts and stops it.

    Attributes:
        url: its address, without a trailing slash.
        user: the administrator's address; `password` and `token` (legacy, for `Authorization: Token`) go with it.
        log_path: its log.

    A second start on the same `data_dir` has the first run's projects, password and token, so the caller must keep the
    last two.
    """

    def __init__(  # noqa: PLR0913 - what a Label Studio is told; all but two have defaults
        self,
        executable: Path,
        *,
        data_dir: Path,
        port: int = 0,
        password: str | None = None,
        token: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.executable = executable
        self.data_dir = data_dir.absolute()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.user = USER
        self.password = password or secrets.token_urlsafe(9)
        self.token = token or secrets.token_hex(20)
        self.log_path = self.data_dir / "label-studio.log"
        self._extra = dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._personal: str | None = None

    def environment(self) -> dict[str, str]:
        """Return Label Studio's environment. Only paths and language come from ours: no PORT or HOST leaks in."""
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ
        }
        return inherited | {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data_dir),
            "LABEL_STUDIO_USERNAME": self.user,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            # Label Studio reads this only when it creates the organization, on a folder's first start.
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            # `/setup` sends it to the backend as `hostname`; the default, localhost, may resolve to ::1.
            "LABEL_STUDIO_HOST": self.url,
            # Without both, `POST /api/ml` refuses a backend on loopback and leaves half a connection behind.
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "PYTHONUNBUFFERED": "1",
            **self._extra,
        }

    def start(self) -> Self:
        """Start Label Studio and return once `/health` answers: after 35 s in a new folder, 5 s in a used folder.

        Raises:
            Unavailable: the executable is missing, the port is taken, Label Studio ended by itself, or took over 400 s.
        """
        if not self.executable.is_file():
            raise Unavailable(f"no Label Studio at {self.executable}: run `make label-studio`")
        with socket.socket() as probe:
            # On a busy port Label Studio silently takes the next free port, where nobody would look for it.
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise Unavailable(f"port {self.port} is taken: name another with --label-studio-port")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        arguments = [
            str(self.executable),
            "start",
            "--no-browser",
            "--internal-host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        arguments += ["--enable-legacy-api-token"]
        with self.log_path.open("ab") as log:
            self._process = start(arguments, environ=self.environment(), folder=self.data_dir, output=log)
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if (status := self.poll()) is not None:
                raise Unavailable(f"Label Studio ended with status {status} while starting; {self._last_words()}")
            try:
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        raise Unavailable(
            f"Label Studio did not answer on {self.url} within {START_S:.0f} s: run this again when "
            f"the machine is less busy; {self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return f"the end of {self.log_path}:\n" + "\n".join(lines)

    def poll(self) -> int | None:
        """Return None while Label Studio runs, else its exit status; -1 before the first start."""
        return self._process.poll() if self._process else -1

    def personal_access_token(self) -> str:
        """Return the administrator's personal access token (a refresh JWT).

        Label Studio gives a user one token and answers 409 to a second request, so we request it once.

        Raises:
            Unavailable: Label Studio gave no token.
        """
        if self._personal is not None:
            return self._personal
        reply = requests.post(f"{self.url}/api/token/", headers={"Authorization": f"Token {self.token}"}, timeout=10)
        if not reply.ok:
            raise Unavailable(f"Label Studio answered {reply.status_code} when asked for a personal access token")
        self._personal = str(reply.json()["token"])
        return self._personal

    def stop(self) -> None:
        """End Label Studio and its child processes; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            end(process, grace_s=STOP_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
