"""Our own server on a real socket, with a real Valkey and a tiny SAM, and what every answer to a bad input must be.

Nothing of it is fake but the Label Studio that it is told of.
"""

import http.client
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from fakes.label_studio import FakeLabelStudio
from redis import Redis
from support.listening import listening
from support.pictures import encode_image, write_data_uri
from support.waiting import wait_until

from backend.server.app import create_app
from backend.server.listening import server_of
from backend.settings import Settings

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels>
<RectangleLabels name="rect" toName="image" smart="true"><Label value="Coin"/></RectangleLabels></View>"""


def keypoint(x: Any = 50, y: Any = 50) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["Coin"]}
    return {
        "id": "k",
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "is_positive": True,
        "value": value,
    }


def rectangle(x: Any, y: Any, width: Any, height: Any) -> dict[str, Any]:
    """A box, in per cent of the image."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["Coin"]}
    return {"id": "r", "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": value}


def picture(*, width_px: int = 96, height_px: int = 64, form: str = "PNG", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height_px, width_px, 3), dtype=np.uint8)
    return encode_image(pixels, form, **options)


def data_uri(data: bytes) -> str:
    return write_data_uri(data)


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    folder: Path
    studio: FakeLabelStudio
    redis: Redis
    auth: tuple[bytes, bytes] | None = None

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        """POST JSON, or `data` with its `headers`."""
        return requests.post(self.url + path, timeout=120, **({"json": body} | more if "data" not in more else more))

    def announce(self, path: str, **headers: str) -> requests.Response:
        """POST headers alone, and read the answer without having sent a byte of the body."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        connection.putrequest("POST", path)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        told, answer = connection.getresponse(), requests.Response()
        answer.status_code, answer._content = told.status, told.read()
        answer.headers.update(told.headers)
        connection.close()
        return answer

    def body(self, uri: str, *regions: Any) -> dict[str, Any]:
        """An interactive request on one image; one click where no regions are given."""
        return {
            "tasks": [{"id": 1, "data": {"image": uri}}],
            "project": "1.1795418479",
            "label_config": CONFIG,
            "params": {"context": {"result": list(regions or [keypoint()])}},
        }

    def click(self, uri: str, *regions: Any) -> requests.Response:
        return self.post("/predict", self.body(uri, *regions))

    def health(self) -> dict[str, Any]:
        answer = requests.get(self.url + "/health", auth=self.auth, timeout=60)
        assert answer.status_code == 200
        return dict(answer.json())

    def is_up(self) -> bool:
        return bool(self.health()["model"] == "ready")

    def files(self) -> set[Path]:
        """All but what is kept of answers to compare with (backend.live): that is written aside, after the answer."""
        return {path for path in self.folder.rglob("*") if path.is_file() and "live" not in path.parts}

    @contextmanager
    def unharmed(self, *, seconds: float = 20.0, mib: float = 64.0) -> Iterator[None]:
        """What happens in here takes so much memory and computing at most, leaves no file, and the server serves on.

        `seconds` are this process's, the server's with it, on its cores: the machine's other work does not count.
        """
        before, resting_mib = self.files(), _reset_peak_mib()
        began = time.process_time()
        yield
        assert time.process_time() - began < seconds
        assert _peak_mib() - resting_mib < mib
        assert self.files() - before == set()
        assert self.is_up()


def refused(answer: requests.Response, says: str, *, status: int = 400) -> None:
    """One clear sentence with a 4xx, and nothing of our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    (sentence,) = answer.json().values()
    assert says in sentence, sentence
    assert len(sentence) < 400
    assert not any(inside in sentence for inside in ("Traceback", 'File "', "\n", "<html"))


def _reset_peak_mib() -> float:
    """Forget the largest resident size so far; returns the present one, in MiB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def _peak_mib() -> float:
    return _status_mib("VmHWM")


def _status_mib(field: str) -> float:
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)


@contextmanager
def serving(folder: Path, *, model: Path, redis_url: str, studio: FakeLabelStudio, **settings: Any) -> Iterator[Served]:
    """A server in a thread of this process, so that its memory can be seen; its files and temporary files in `folder`.

    Args:
        folder: where it keeps everything.
        model: a `save_pretrained` folder.
        redis_url: its queue.
        studio: its Label Studio.
        settings: further settings.
    """
    known = dict(
        model=str(model),
        model_dir=folder / "models",
        cache_dir=folder / "cache",
        poll_seconds=0.2,
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
    )
    redis = Redis.from_url(redis_url)
    used = Settings(**(known | settings))
    app = create_app(used, connection=redis)
    server = server_of(app, used, host="127.0.0.1", port=0)
    kept, tempfile.tempdir = tempfile.tempdir, str(folder / "tmp")
    (folder / "tmp").mkdir()
    user, password = settings.get("basic_auth_user"), settings.get("basic_auth_pass")
    auth = (user.encode(), password.encode()) if user and password else None
    try:
        with listening(server) as running:
            served = Served(running.url, folder, studio, redis, auth)
            wait_until(served.is_up)
            yield served
    finally:
        tempfile.tempdir = kept
