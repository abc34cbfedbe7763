"""The demo's processes: Label Studio and `samloop up`, with all their data in one folder."""

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import requests

from backend.cli.demo.label_studio import LabelStudioProcess, free_port
from backend.errors import Unavailable
from backend.files.children import end, own_command, start
from backend.labelstudio.api.client import LabelStudio
from backend.settings import Settings

_CHECKOUT = Path(__file__).resolve().parents[3]
_STOP_STACK_S = 75.0  # a running training saves its state first
_AWAY_S = 60.0
# The demo's limits where the environment sets none. Twelve epochs take a minute or two, and gain on every machine. The
# time must not end them before: a machine so busy that it managed a few epochs in 300 s saw no gain, and no promotion.
LIMITS = {"SAMLOOP_TRAIN_SECONDS": "900", "SAMLOOP_EPOCHS": "12"}
_PATIENCE_S = 60.0
_TOLD = 500  # characters of what it says about a fault
_MODEL_S = 600.0  # the first start fetches the weights and converts them


class House:
    """Runs Label Studio, backend, worker and Valkey while the context is open, and ends them by process id.

    Args:
        settings: the environment's settings. The demo replaces its registry and its queue by its own.
        directory: the folder of all data; the next demo in it continues.
        port: the backend's port; 0: any free port.
        label_studio_port: Label Studio's port; 0: any free port.
    """

    def __init__(self, settings: Settings, *, directory: Path, port: int, label_studio_port: int) -> None:
        directory = directory.absolute()
        user, password = settings.backend.basic_auth_user, settings.backend.basic_auth_pass
        self.basic_auth = (user, password) if user and password else None
        self.directory, self.port = directory, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = directory / "samloop.log"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        password, token = _login(directory / "login.json")
        self.label_studio = LabelStudioProcess(
            find_label_studio(),
            data_dir=directory / "label-studio",
            port=label_studio_port,
            password=password,
            token=token,
        )
        self.client = LabelStudio(self.label_studio.url, self.label_studio.token)
        self._stack: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(_stop_by_signals())
        try:
            self._open.callback(self._stop_stack)
            self._start_stack()  # the model loads while Label Studio makes its tables
            self._open.callback(self.label_studio.stop)
            self.label_studio.start()
            self._wait_for_model()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        # The backend first: a training that saves its state still reads from Label Studio.
        self._stop_stack()
        self._open.close()

    def status(self, project_id: int) -> dict[str, Any]:
        """Return the backend's answer to `GET /projects/{id}/status`.

        Raises:
            Unavailable: a process ended, or the backend does not answer.
        """
        return self._get(f"/projects/{project_id}/status")

    def _get(self, path: str) -> dict[str, Any]:
        # `samloop up` restarts dead processes, and a busy disk delays the queue: an answer may be late.
        deadline = time.monotonic() + _AWAY_S
        while True:
            self._check_alive()
            try:
                return self._request(path)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    def _request(self, path: str) -> dict[str, Any]:
        try:
            reply = requests.get(self.url + path, auth=self.basic_auth, timeout=10)
            if not reply.ok:
                raise Unavailable(
                    f"the backend answered {reply.status_code} on {self.url}{path}: {reply.text[:_TOLD]}; "
                    f"see {self.log_path}"
                )
            answer: dict[str, Any] = reply.json()
        except (requests.RequestException, ValueError) as fault:
            raise Unavailable(
                f"the backend does not answer on {self.url}{path}: {fault}; see {self.log_path}"
            ) from fault
        return answer

    def _check_alive(self) -> None:
        for name, status, log_path in (
            ("samloop up", self._stack.poll() if self._stack else None, self.log_path),
            ("Label Studio", self.label_studio.poll(), self.label_studio.log_path),
        ):
            if status is not None:
                raise Unavailable(
                    f"{name} ended by itself with status {status}; the end of {log_path}:\n{_tail(log_path)}"
                )

    def _start_stack(self) -> None:
        _check_free(self.port)
        with self.log_path.open("ab") as log:
            # We pass Ctrl-C on, in the right order.
            self._stack = start(own_command("up", "--port", str(self.port)), environ=self._environment(), output=log)

    def _environment(self) -> dict[str, str]:
        """Return our environment with the demo's own Label Studio, registry and queue."""
        inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        return (
            LIMITS
            | inherited
            | {
                "LABEL_STUDIO_URL": self.label_studio.url,
                "LABEL_STUDIO_API_KEY": self.label_studio.token,
                "MODEL_DIR": str(self.directory / "models"),
                # Who deletes the folder deletes what remembers its registry too, and may begin anew in it.
                "XDG_STATE_HOME": str(self.directory / "state"),
                "SAMLOOP_QUEUE_DIR": str(self.directory / "queue"),
                "SAMLOOP_BACKEND_URL": self.url,
            }
        )

    def _wait_for_model(self) -> None:
        deadline = time.monotonic() + _MODEL_S
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                health = requests.get(f"{self.url}/health", auth=self.basic_auth, timeout=5).json()
            except (requests.RequestException, ValueError):
                health = {}
            if health.get("error"):
                raise Unavailable(f"the backend could not load its model: {health['error']}")
            if health.get("model") == "ready":
                return
            time.sleep(0.2)
        raise Unavailable(f"the backend's model was not loaded within {_MODEL_S:.0f} s; see {self.log_path}")

    def _stop_stack(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            end(stack, grace_s=_STOP_STACK_S)


def find_label_studio(checkout: Path = _CHECKOUT) -> Path:
    """Return the executable that `make label-studio` installs, in the checkout or in the current folder.

    Raises:
        Unavailable: the executable is in neither.
    """
    for root in (checkout, Path.cwd()):
        if (executable := root / ".venv-label-studio" / "bin" / "label-studio").is_file():
            return executable
    raise Unavailable(
        f"no Label Studio in {checkout / '.venv-label-studio'}: run `make label-studio` in a checkout of samloop "
        "(which installs it into an environment of its own: its pins conflict with samloop's)"
    )


def _login(path: Path) -> tuple[str, str]:
    """Return the administrator's password and token. A folder's Label Studio keeps its first password and token."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"password": secrets.token_urlsafe(9), "token": secrets.token_hex(20)}))
    login = json.loads(path.read_text())
    return str(login["password"]), str(login["token"])


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Unavailable(f"port {port} is taken: name another port with --port; --port 0 takes any free port")


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def _stop_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave through every `finally`, as Ctrl-C does."""

    def leave(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the shutdown
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
