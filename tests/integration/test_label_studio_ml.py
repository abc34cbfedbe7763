"""In label-studio-ml's own harness the service answers as in our own server: 1.0.9 from PyPI, and 2.x."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from redis import Redis
from starlette.testclient import TestClient
from support.payloads import read_payload
from support.pictures import encode_image, write_data_uri
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port
from backend.server.app import create_app
from backend.settings import Settings
from backend.work.embedded import Valkey

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ROOT / ".venv-label-studio-ml" / "bin"
# 2.x is not on PyPI: LABEL_STUDIO_ML_2X names the folder of commands of an environment that has it from git.
KINDS = ["1.0.9", "2.x, faked", *(["2.x"] if "LABEL_STUDIO_ML_2X" in os.environ else [])]
AUTH = ("label-studio", "pä:ss")
AUTH_BYTES = tuple(part.encode() for part in AUTH)  # requests itself would send Latin-1
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="{label}"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="{label}"/></KeyPointLabels></View>"""

pytestmark = pytest.mark.label_studio_ml


@dataclass(frozen=True)
class Harness:
    """A running harness, and our own server on the same model, registry and queue."""

    url: str
    ours: TestClient
    redis: Redis
    is_2x: bool

    def post(self, path: str, body: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, auth=AUTH_BYTES, timeout=120)


def start_command(kind: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """How this harness is started, and the PATH and PYTHONPATH to do it with."""
    if kind == "2.x, faked":
        package = folder / "label_studio_ml"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        shutil.copy(ROOT / "tests" / "fakes" / "label_studio_ml_2x.py", package / "model.py")
        (package / "api.py").write_text("from label_studio_ml.model import init_app\n")
        return [str(COMMANDS / "python"), "backend/_wsgi.py"], {"PYTHONPATH": str(folder)}
    commands = COMMANDS if kind == "1.0.9" else Path(os.environ["LABEL_STUDIO_ML_2X"])
    return [str(commands / "label-studio-ml"), "start", "backend"], {"PATH": f"{commands}:{os.environ['PATH']}"}


@pytest.fixture(scope="module", params=KINDS)
def harness(
    request: pytest.FixtureRequest, tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    kind: str = request.param
    folder = tmp_path_factory.mktemp("harness")
    command, path = start_command(kind, folder / "python")
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=folder / "models",
        cache_dir=folder / "cache",
        basic_auth_user=AUTH[0],
        basic_auth_pass=AUTH[1],
    )
    port = free_port()
    with Valkey(folder / "queue") as valkey:
        redis_url = valkey.start()
        environ = (
            os.environ
            | path
            | {
                "REDIS_URL": redis_url,
                "MODEL_DIR": str(settings.registry.model_dir),
                "SAMLOOP_CACHE_DIR": str(settings.cache.dir),
                "SAMLOOP_MODEL": str(tiny_sam_dir),
                "BASIC_AUTH_USER": AUTH[0],
                "BASIC_AUTH_PASS": AUTH[1],
            }
        )
        # It starts Python through a shell and outlives nobody by itself: a session of its own is ended as a whole.
        process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, env=environ, start_new_session=True)
        try:
            redis = Redis.from_url(redis_url)
            with TestClient(
                create_app(settings, connection=redis), raise_server_exceptions=False, base_url="http://localhost"
            ) as ours:
                ours.auth = AUTH_BYTES  # type: ignore[assignment]
                wait_for_health(f"http://127.0.0.1:{port}")
                yield Harness(f"http://127.0.0.1:{port}", ours, redis, is_2x=kind != "1.0.9")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


def wait_for_health(url: str) -> None:
    def is_up() -> bool:
        try:
            return bool(requests.get(url + "/health", auth=AUTH_BYTES, timeout=30).json()["status"] == "UP")
        except requests.ConnectionError:
            return False

    wait_until(is_up, every_s=0.1, explain=lambda: "the harness did not start")


def click(*, project: int = 1, label: str = "Cell", seed: int = 0) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    uri = write_data_uri(encode_image(pixels))
    value = {"x": 94, "y": 83, "width": 1, "keypointlabels": [label]}
    region = {"type": "keypointlabels", "from_name": "kp", "to_name": "image", "is_positive": True, "value": value}
    return {
        "tasks": [{"id": 1, "project": project, "data": {"image": uri}}],
        "project": f"{project}.1795418479",
        "label_config": CONFIG.format(label=label),
        "params": {"login": None, "password": None, "context": {"result": [region]}},
    }


def without_ids(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every answer gives its regions new ids."""
    return json.loads(json.dumps(results), object_hook=lambda item: {k: v for k, v in item.items() if k != "id"})


def test_a_click_is_answered_as_by_our_own_server(harness: Harness) -> None:
    theirs, ours = harness.post("/predict", click()), harness.ours.post("/predict", json=click())
    assert theirs.status_code == ours.status_code == 200
    assert without_ids(theirs.json()["results"]) == without_ids(ours.json()["results"])
    assert theirs.json()["results"][0]["result"][0]["value"]["brushlabels"] == ["Cell"]


def test_projects_keep_their_own_label_config(harness: Harness) -> None:
    """1.0.9's manager holds one model, with the config of whichever project was set up last."""
    for project, label in ((1, "Cell"), (2, "Nucleus")):
        setup = {"project": f"{project}.1", "schema": CONFIG.format(label=label), "hostname": "", "access_token": ""}
        assert harness.post("/setup", setup).status_code == 200
    for project, label in ((1, "Cell"), (2, "Nucleus"), (1, "Cell")):
        (found,) = harness.post("/predict", click(project=project, label=label)).json()["results"]
        assert found["result"][0]["value"]["brushlabels"] == [label]


def test_setup_and_predict_tell_the_same_version(harness: Harness) -> None:
    """Else every "retrieve predictions" adds a duplicate; 1.0.9 by itself says INITIAL, 2.x says 0.0.1."""
    setup = {"project": "1.1", "schema": CONFIG.format(label="Cell"), "hostname": "", "access_token": ""}
    version = harness.post("/setup", setup).json()["model_version"]
    assert version == harness.ours.post("/setup", json=setup).json()["model_version"]
    (found,) = harness.post("/predict", click()).json()["results"]
    assert found["model_version"] == found["result"][0]["meta"]["model_version"] == version


def test_a_recorded_batch_is_answered_as_by_our_own_server(harness: Harness) -> None:
    body = read_payload("10-predict-batch-5tasks.json")
    theirs, ours = harness.post("/predict", body).json(), harness.ours.post("/predict", json=body).json()
    assert without_ids(theirs["results"]) == without_ids(ours["results"])
    assert len(theirs["results"]) == 5


def test_start_training_puts_the_same_job_on_the_queue(harness: Harness) -> None:
    answer = harness.post("/webhook", read_payload("40-webhook-START_TRAINING.json"))
    assert answer.status_code == 201
    told = answer.json()["result"] if harness.is_2x else answer.json()
    stored = harness.redis.hgetall(f"rq:job:{told['job']}")
    assert b"finetuner.job.run" in zlib.decompress(stored[b"data"])
    assert harness.ours.post("/job_status", json={"job": told["job"]}).json()["project"] == 1


def test_an_annotation_trains_nothing(harness: Harness) -> None:
    before = harness.redis.keys("rq:job:*")
    body = read_payload("41-webhook-ANNOTATION_CREATED.json")
    assert harness.post("/webhook", body).ok
    assert harness.redis.keys("rq:job:*") == before


def changed(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return body | fields


PROMPTLESS: dict[str, Any] = {"tasks": [{"id": "12", "data": {"image": "/a.png"}}], "label_config": CONFIG}
ROW = {"id": 77, "task": 12, "project": 7}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/setup", {"project": 7}),
        ("/predict", {**PROMPTLESS, "project": "7.1", "params": None}),
        ("/predict", PROMPTLESS),
        ("/predict", {**PROMPTLESS, "project": None, "params": {"context": None}}),
        ("/webhook", {"action": "START_TRAINING", "project": {"id": 7}}),
        ("/webhook", {"action": "START_TRAINING", "project": "7.1"}),
        ("/webhook", {"action": "START_TRAINING", "project": 7}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "annotation": ROW, "project": {"id": 7}}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "annotation": ROW}),
        ("/webhook", {"action": "ANNOTATION_CREATED"}),
    ],
)
def test_what_scripts_leave_out_is_answered_as_by_our_own_server(harness: Harness, path: str, body: Any) -> None:
    theirs, ours = harness.post(path, body), harness.ours.post(path, json=body)
    assert (theirs.ok, ours.status_code // 100) == (True, 2), theirs.text
    if path == "/predict":
        assert theirs.json()["results"] == ours.json()["results"]
    elif path == "/webhook":
        answer = theirs.json()["result"] if harness.is_2x else theirs.json()
        assert answer["status"] == ours.json()["status"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", changed(click(), tasks=[{"id": 1, "data": {"image": "file:///etc/passwd"}}])),
        ("/predict", changed(click(), tasks=[{"id": 1, "data": {"image": "data:text/html;base64,PGh0bWw+"}}])),
        ("/predict", changed(click(), label_config='<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>')),
        ("/predict", changed(click(), tasks=None)),
        ("/predict", changed(click(), project="../../x")),
        ("/setup", {"project": "x"}),
        ("/webhook", {"action": "START_TRAINING"}),
        ("/webhook", {"action": 5}),
        ("/webhook", [1]),
    ],
)
def test_bad_input_gets_our_own_servers_status_and_sentence(harness: Harness, path: str, body: Any) -> None:
    theirs, ours = harness.post(path, body), harness.ours.post(path, json=body)
    assert (theirs.status_code, "Traceback" in theirs.text) == (ours.status_code, False), theirs.text
    if path != "/webhook":
        assert theirs.json() == ours.json()


def test_a_request_passes_the_same_guard(harness: Harness) -> None:
    assert requests.get(harness.url + "/health", timeout=60).status_code == 401
    for body, headers, status in (
        (b'{"project": NaN}', {"Content-Type": "application/json"}, 400),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        (iter([b"{}"]), {"Content-Type": "application/json"}, 400),
    ):
        answer = requests.post(harness.url + "/setup", data=body, headers=headers, auth=AUTH_BYTES, timeout=60)
        assert answer.status_code == status, answer.text
        assert len(answer.json()["error"]) < 300


def test_it_listens_beyond_loopback_with_credentials_alone(tiny_sam_dir: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BASIC_AUTH")}
    done = subprocess.run(
        [COMMANDS / "python", "backend/_wsgi.py", "--host", "0.0.0.0"],
        cwd=ROOT,
        env=environ | {"REDIS_URL": "redis://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "set BASIC_AUTH_USER and BASIC_AUTH_PASS" in done.stderr
    assert "Traceback" not in done.stderr


def test_our_own_environment_does_without_the_harness() -> None:
    """So that its old Flask gets in nobody's way."""
    code = "import sys, backend.server.app; sys.exit('flask' in sys.modules or 'label_studio_ml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
