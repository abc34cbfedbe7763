"""Bad inputs 17 to 26: what comes through the door. The number is the one in the list of thirty."""

import base64
import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from fakes.served import CONFIG, Served, data_uri, keypoint, picture, rectangle, refused
from fakes.studio_setup import StudioSetup
from support.payloads import read_payload

AUTH = (b"label-studio", "pä:ss".encode())  # requests itself would send Latin-1
JSON = {"Content-Type": "application/json"}
START_TRAINING = read_payload("40-webhook-START_TRAINING.json")


def test_17_a_body_of_300_mb_announced(server: Served) -> None:
    with server.unharmed(seconds=5, mib=16):
        for length in (str(300 << 20), "9" * 14):
            refused(server.announce("/predict", **{"Content-Length": length}), "above the limit", status=413)


def test_17_a_body_of_300_mb_in_chunks(server: Served) -> None:
    """It has no length to announce: what arrives is counted, and above the limit the line is cut."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    with server.unharmed(seconds=30, mib=160):  # the limit is 64 MiB, in pieces and as one
        piece, sent = bytes(1 << 20).replace(b"\0", b" "), 0
        connection.putrequest("POST", "/predict")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Content-Type", "application/json")
        connection.endheaders()
        try:
            for _ in range(300):
                connection.send(b"100000\r\n" + piece + b"\r\n")
                sent += 1
        except OSError:
            pass  # it hung up, as it should
        connection.close()
        assert sent < 200


def test_17_a_gzip_bomb(server: Served) -> None:
    bomb = gzip.compress(bytes(100 << 20), 9)
    with server.unharmed(seconds=5, mib=16):
        answer = server.post("/predict", data=bomb, headers=JSON | {"Content-Encoding": "gzip"})
        refused(answer, "send the body uncompressed", status=415)


@pytest.mark.parametrize(("depth", "says"), [(200_000, "not valid JSON"), (100, "nested deeper than 64 levels")])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_18_json_that_is_nested(server: Served, depth: int, says: str, pair: tuple[str, str]) -> None:
    text = '{"project": 1, "tasks": ' + pair[0] * depth + "1" + pair[1] * depth + "}"
    with server.unharmed(seconds=5):
        refused(server.post("/predict", data=text, headers=JSON), says)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"", b"{", b'{"project": 1'])
def test_18_what_is_no_json_at_all(server: Served, text: bytes) -> None:
    with server.unharmed():
        refused(server.post("/predict", data=text, headers=JSON), "not valid JSON")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "Infinity"),
        ("1e999", "finite"),
        ("9" * 5000, "not valid JSON"),
    ],
)
def test_19_numbers_that_are_none(server: Served, number: str, says: str) -> None:
    body = json.dumps(server.body(data_uri(picture()), keypoint(x="HERE"))).replace('"HERE"', number)
    with server.unharmed():
        refused(server.post("/predict", data=body, headers=JSON), says)


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        ([keypoint(x=-1e9)], "outside of the image"),
        ([keypoint(y=9**99)], "not a finite number"),
        ([keypoint(x="5")], "x is str, not a number"),
        ([keypoint(x=None)], "x is NoneType"),
        ([rectangle(10, 10, 0, 10)], "no area in the image"),
        ([rectangle(0, 10, -5, 10)], "no area in the image"),
        ([rectangle(200, 10, 5, 5)], "no area in the image"),
        ([keypoint()] * 10_000, "10000 regions; at most 2000 are allowed"),
        ([None], "not a region"),
    ],
)
def test_20_prompts_that_point_nowhere(server: Served, regions: list[Any], says: str) -> None:
    with server.unharmed():
        refused(server.click(data_uri(picture()), *regions), says)


def test_20_a_rounding_beyond_the_edge_works(server: Served) -> None:
    assert server.click(data_uri(picture()), keypoint(x=100.0001)).status_code == 200


def brush(rle: Any, *, width: Any = 96, height: Any = 64) -> dict[str, Any]:
    return {
        "id": "b",
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "value": {"format": "rle", "rle": rle, "brushlabels": ["Coin"]},
    }


@pytest.mark.parametrize(
    "region",
    [
        brush([0x7F, 0xFF, 0xFF, 0xFF, 57, 27, 0] + [0xFF] * 500_000),
        brush([0, 0, 96, 0, 57, 27, 300, 0]),
        brush([0, 0, 96, 0, 57, 27, -1, 0]),
        brush([0, 0, 96, 0, 57, 27, "a", 0]),
        brush([0, 0, 0, 16, 57, 27, 224, 0]),
        brush([0, 0, 0, 16, 57, 27, 224, 0], width=30_000, height=30_000),
    ],
    ids=["bomb", "300", "-1", "a", "length", "size"],
)
def test_21_masks_that_unpack_to_no_mask(server: Served, region: dict[str, Any]) -> None:
    """As the mask that a click refines. In annotations: ELSEWHERE."""
    with server.unharmed(seconds=5, mib=64):
        refused(server.click(data_uri(picture()), region, keypoint()), "brushlabels in the request cannot be used")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"tasks": None}, "body.tasks"),
        ({"tasks": {}}, "body.tasks"),
        ({"tasks": [None]}, "body.tasks.0"),
        ({"tasks": [{}] * 100_000}, "body.tasks"),
        ({}, "body.tasks"),
        ([], "body"),
        (None, "body"),
        ({"tasks": [{}] * 2, "params": {"context": {}}}, "exactly one"),
        ({"tasks": [{}], "params": {"context": {}}}, "label_config is missing"),
        ({"tasks": [{}], "label_config": CONFIG, "params": {"context": {}}}, "no image"),
        ({"tasks": [{"data": {"image": 5}}], "label_config": CONFIG, "params": {"context": {}}}, "no image"),
        ({"tasks": [{}], "params": {"context": [1]}}, "body.params.context"),
    ],
)
def test_22_tasks_and_bodies_of_another_shape(server: Served, body: Any, says: str) -> None:
    with server.unharmed(seconds=10):
        refused(server.post("/predict", data=json.dumps(body), headers=JSON), says)


@pytest.mark.parametrize(
    ("path", "body", "says"), [("/job_status", {"job": 5}, "body.job"), ("/versions", {}, "body.project")]
)
def test_22_bodies_of_other_routes(server: Served, path: str, body: Any, says: str) -> None:
    with server.unharmed():
        refused(server.post(path, body), says)


def test_22_params_that_are_null_are_a_batch(server: Served) -> None:
    answer = server.post("/predict", {"tasks": [{"id": 1, "data": {}}], "project": "1.1", "params": None})
    assert (answer.status_code, len(answer.json()["results"])) == (200, 1)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_22_another_content_type(server: Served, kind: str) -> None:
    with server.unharmed():
        refused(server.post("/predict", data="{}", headers={"Content-Type": kind}), "application/json", status=415)


@pytest.mark.parametrize("project", ["../../x", "1.1\n", "", "x", "0", "-1", 0, -5, 1.5, True, [], {}, "1" * 5000])
def test_23_projects_that_are_none(server: Served, project: Any) -> None:
    with server.unharmed():
        for path, body in (("/predict", {"tasks": []}), ("/setup", {}), ("/train", {}), ("/versions", {})):
            refused(server.post(path, body | {"project": project}), "project")
    refused(server.post("/setup", {"project": None}), "project")
    assert server.post("/setup", {"project": 5}).status_code == 200, "a number is what Label Studio calls it"


LAUGHS = (
    "<!DOCTYPE l ["
    '<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><View>&j;</View>"
)
IMAGE = '<Image name="image" value="$image"/>'


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("<!DOCTYPE x><View/>", "document type"),
        ('<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>', "document type"),
        (LAUGHS, "document type"),
        ("<View>" + " " * 10_000_000 + "</View>", "at most 1048576 are allowed"),
        (f"<View>{IMAGE}</View>", "<BrushLabels>"),
        (f"<View>{IMAGE}{IMAGE}</View>", "has 2 <Image> tags"),
        ("<View/>", "has no <Image> tag"),
        ("<View", "not well-formed"),
    ],
    ids=["dtd", "xxe", "laughs", "10mb", "no-control", "two-images", "no-image", "broken"],
)
def test_24_label_configs(server: Served, xml: str, says: str) -> None:
    body = server.body(data_uri(picture())) | {"label_config": xml}
    with server.unharmed(seconds=5, mib=128):  # the 10 MB are held several times by this process
        refused(server.post("/predict", body), says)


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with credentials."""
    folder = tmp_path_factory.mktemp("guarded")
    with serve(folder, basic_auth_user="label-studio", basic_auth_pass="pä:ss") as served:
        yield served


def test_25_a_webhook_without_credentials(guarded: Served) -> None:
    refused(guarded.post("/webhook", START_TRAINING), "credentials are missing or wrong", status=401)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"action": "START_TRAINING"}, "id of the project to train"),
        ({"action": "START_TRAINING", "project": {"id": "../../x"}}, "project"),
        ({"action": "START_TRAINING", "project": []}, "project"),
        ({"action": "rm -rf"}, "action"),
        ({"action": None, "project": {"id": 1}}, "action"),
        ({}, "action"),
        ([START_TRAINING], "body"),
    ],
)
def test_25_a_webhook_that_says_nothing_usable(server: Served, body: Any, says: str) -> None:
    with server.unharmed():
        refused(server.post("/webhook", body), says)


def test_25_an_unknown_action_trains_nothing(server: Served) -> None:
    before = server.redis.keys("rq:job:*")
    answer = server.post("/webhook", {"action": "MADE_UP", "project": {"id": 25}})
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert server.redis.keys("rq:job:*") == before


def test_25_a_thousand_requests_and_replays_are_a_few_jobs(server: Served) -> None:
    """Who asks while another's job is being written waits a moment for it (ELSEWHERE: one training)."""
    project_id = StudioSetup(server.studio.url, server.studio.token).create_project("asked for", "<View/>")["id"]
    body = {"action": "START_TRAINING", "project": {"id": project_id}}

    def fifty(_: int) -> list[tuple[int, str]]:
        with requests.Session() as session:
            answers = [session.post(f"{server.url}/webhook", json=body, timeout=120) for _ in range(50)]
            return [(answer.status_code, answer.json()["job"]) for answer in answers]

    with server.unharmed(seconds=60, mib=64), ThreadPoolExecutor(20) as pool:
        answers = [answer for part in pool.map(fifty, range(20)) for answer in part]
    assert len(answers) == 1000
    assert {status for status, _ in answers} == {201}
    jobs = {job for _, job in answers}
    assert len(jobs) < 20
    stored = {key.decode().removeprefix("rq:job:") for key in server.redis.keys("rq:job:*")}
    assert {job for job in stored if job.startswith(f"train-{project_id}-")} == jobs


def test_25_made_up_projects_leave_nothing_and_queue_nothing(server: Served) -> None:
    """Protected by KnownProjects: in the webhook, before a training is queued, and before an answer is kept."""
    annotation = read_payload("41-webhook-ANNOTATION_CREATED.json")
    before, keys = set((server.folder / "models").rglob("*")), set(server.redis.keys())
    for project_id in range(700_000, 700_300):
        told = server.post("/webhook", annotation | {"project": {"id": project_id}})
        assert (told.status_code, told.json()["status"]) == (200, "ignored"), told.text
    for project_id in range(700_000, 700_040):
        asked = server.post("/webhook", {"action": "START_TRAINING", "project": {"id": project_id}})
        refused(asked, f"Label Studio has no project {project_id}", status=404)
        refused(server.post("/train", {"project": project_id}), "Label Studio has no project", status=404)
        clicked = server.post("/predict", server.body(data_uri(picture())) | {"project": f"{project_id}.1"})
        assert clicked.ok, clicked.text
    assert set((server.folder / "models").rglob("*")) == before
    assert set(server.redis.keys()) - keys <= {b"samloop:sweeping:samloop", b"samloop:sweeping:samloop-refresh"}
    metrics = requests.get(server.url + "/metrics", timeout=60)
    assert "70000" not in metrics.text


@pytest.mark.parametrize(
    "header",
    [
        b"Basic \xff\xfe",
        "Basic zwölf".encode(),
        b"Basic " + base64.b64encode("label-studio:pä:ss".encode("latin-1")),
        b"Basic " + base64.b64encode(b"label-studio:"),
        b"Bearer eyJhbGciOiJIUzI1NiJ9.e30.bm8",
        b"Basic",
        b"",
        b"Basic " + b"A" * (1 << 20),
    ],
    ids=["bytes", "umlaut", "latin-1", "no-password", "bearer", "bare", "empty", "1mb"],
)
def test_26_credentials_that_are_none(guarded: Served, header: bytes) -> None:
    try:
        answer = requests.get(f"{guarded.url}/health", headers={"Authorization": header}, timeout=60)
    except requests.RequestException:
        # uvicorn answers 400 to headers of a megabyte and hangs up while they still come: the answer may be lost.
        assert len(header) > 1 << 16
    else:
        assert answer.status_code in {400, 401, 431}, answer.text
        if answer.status_code == 401:
            refused(answer, "credentials are missing or wrong", status=401)
    right = requests.get(f"{guarded.url}/health", auth=AUTH, timeout=60)
    assert right.status_code == 200
