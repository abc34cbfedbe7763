"""Every review page over two versions of a real training: what it shows, what it changes, what it lets nobody do."""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import HOSTILE, Reviewed
from fakes.studio_setup import StudioSetup
from PIL import Image
from redis import Redis
from rq.job import JobStatus
from starlette.testclient import TestClient
from support.checkpoints import make_manifest
from support.waiting import wait_until

from backend.errors import NotFound
from backend.labelstudio.api.client import LabelStudio
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics
from backend.registry.review_file import REVIEW_FILE, read_review
from backend.review.crops import Crops
from backend.review.pages import Pages
from backend.review.rendering import _format_signed
from backend.review.tasks import TAB
from backend.server.app import create_app
from backend.work.embedded import Valkey
from backend.work.keys import Keys
from backend.work.rq_internals import write_meta
from backend.work.status import fetch_jobs

OURS = {"Origin": "http://127.0.0.1:9090"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Valkey(tmp_path_factory.mktemp("queue")) as valkey, Redis.from_url(valkey.start()) as connection:
        yield connection


@pytest.fixture(scope="module")
def client(made: Reviewed, redis: Redis) -> Iterator[TestClient]:
    with TestClient(
        create_app(made.settings, connection=redis),
        base_url="http://127.0.0.1:9090",
        raise_server_exceptions=False,
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


@pytest.fixture
def here(made: Reviewed) -> str:
    return f"/review/{made.project_id}"


@pytest.fixture(autouse=True)
def _as_at_first(made: Reviewed, client: TestClient) -> Iterator[None]:
    """No flags, the base model served, an analyst without a name."""
    yield
    client.cookies.clear()
    (made.settings.registry.model_dir / "review" / str(made.project_id) / "flags.jsonl").unlink(missing_ok=True)
    registry = LocalRegistry(made.settings.registry.model_dir)
    champion = registry.champion(made.project_id)
    if champion is not None and champion.version is not None:
        registry.promote(made.project_id, None, reason="the test is over")
    wait_until(lambda: _served(client, made) == made.base)


def _served(client: TestClient, made: Reviewed) -> str:
    return str(client.get(f"/projects/{made.project_id}/status").json()["served"]["version"])


def _page(client: TestClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def _keys(page: str) -> list[str]:
    return re.findall(r'<li class="card" id="m-([0-9a-f]+)"', page)


def _begin_project(studio: FakeLabelStudio) -> int:
    """A project that has nothing yet."""
    return int(StudioSetup(studio.url, studio.token).create_project("just begun", "<View/>")["id"])


def _flag(client: TestClient, here: str, **fields: str) -> Any:
    return client.post(f"{here}/flags", data=fields, headers=OURS, follow_redirects=False)


def test_no_page_takes_anything_from_elsewhere_or_lets_a_label_be_more_than_text(
    client: TestClient, here: str, made: Reviewed
) -> None:
    key = _keys(_page(client, f"{here}/masks"))[0]
    addresses = [
        here,
        f"{here}/versions?a={made.versions[0]}&b={made.versions[1]}",
        f"{here}/masks",
        f"{here}/masks/{made.versions[1]}/{key}",
        f"{here}/data",
        f"{here}/decide?version={made.versions[0]}",
    ]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.text)
        assert "<script>" not in answer.text, address
        assert "<i>tiny" not in answer.text, address
        assert not re.search(r"<[a-z][^>]* (style|on[a-z]+)=", answer.text), f"{address} has style or script of its own"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src")
        assert "unsafe" not in answer.headers["content-security-policy"]
        loaded = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', answer.text)
        assert loaded, address
        for asset in loaded:
            assert asset.startswith("/review/"), asset
            assert client.get(asset).status_code == 200, asset
        ids = re.findall(r'\sid="([^"]+)"', answer.text)
        assert len(ids) == len(set(ids)), f"{address} has an id twice"
    assert HOSTILE in unescape(_page(client, f"{here}/masks"))


def test_the_overview_tells_what_is_served_the_verdict_and_the_trend(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = unescape(_page(client, here))
    champion = LocalRegistry(made.settings.registry.model_dir).champion(
        made.project_id
    )  # that of a test before, if any
    assert ("nothing was promoted yet" if champion is None else f"by decision {champion.number}") in page
    assert "Kept as a challenger" in page
    assert "no certain gain over <i>tiny</i>" in page
    assert f'data-events="/projects/{made.project_id}/events"' in page
    assert page.count('class="dot ') == 8, "two versions, two prompts, the base beside every version"


def test_all_projects_are_listed_with_what_is_served_and_lead_to_their_pages_and_to_label_studio(
    client: TestClient, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    page = _page(client, "/review")
    assert f'<a href="/review/{made.project_id}"><b>discs</b></a>' in page
    assert f'href="{review_studio.url}/projects/{made.project_id}/data"' in page
    row = page.partition(f'href="/review/{made.project_id}"')[2].partition("</tr>")[0]
    assert "<td>2</td>" in row, "versions"
    assert "3 of 4" in row, "the fourth task was skipped"
    assert made.base in row


def test_the_overview_leads_back_to_label_studio_and_to_all_projects(
    client: TestClient, here: str, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    page = _page(client, here)
    assert "<h1>discs</h1>" in page
    assert f'href="{review_studio.url}/projects/{made.project_id}/data"' in page
    assert '<a href="/review"><b>samloop</b></a>' in page
    assert "3 of 4 tasks annotated" in page


def test_a_project_that_cannot_train_yet_says_what_it_lacks(client: TestClient, review_studio: FakeLabelStudio) -> None:
    studio, project_id = StudioSetup(review_studio.url, review_studio.token), _begin_project(review_studio)
    studio.import_tasks(project_id, [{"data": {"image": "/a.png"}}])
    (task,) = studio.tasks(project_id)
    studio.create_annotation(task["id"], [])
    assert "1 of at least 2 images annotated" in _page(client, f"/review/{project_id}")
    assert "a training needs 2" in _page(client, "/review")


def test_an_unknown_project_is_said_to_be_none(client: TestClient, made: Reviewed) -> None:
    answer = client.get("/review/987654")
    assert answer.status_code == 404
    assert "has no project 987654, or this key may not see it; it has 1" in unescape(answer.text)
    assert 'href="/review"' in answer.text
    assert "/review/987654/" not in answer.text, "it has no other pages"


def test_a_queue_that_nobody_works_off_says_so(client: TestClient, here: str, made: Reviewed) -> None:
    assert client.get(f"/projects/{made.project_id}/status").json()["queue"]["workers"] == 0
    assert "no worker runs: start one with samloop worker" in _page(client, here)


def test_moments_are_marked_for_the_readers_own_time(client: TestClient, here: str) -> None:
    assert re.search(
        r'<time datetime="[^"]+\+00:00">[-0-9]{10} [0-9:]{5} UTC</time>', _page(client, f"{here}/versions")
    )


def test_a_version_that_a_person_promotes_is_shown_at_once_with_the_reason_and_no_verdict_against_it(
    client: TestClient, here: str, made: Reviewed
) -> None:
    latest = made.versions[1]
    number = re.search(r'name="number" value="(\d+)"', _page(client, f"{here}/decide?version={latest}"))
    assert number is not None
    form = {"version": latest, "number": number[1], "reason": "the rim is tighter"}
    answer = client.post(f"{here}/decide", data=form, headers=OURS)
    assert f'<b>{latest.partition("-p1-")[2]}</b> <span class="badge">served</span>' in answer.text
    page = unescape(_page(client, here))
    assert f'data-live="served">{latest}<' in page
    assert 'data-live="why">the rim is tighter (analyst, on the review page)<' in page
    assert "Served because a person decided so" in page
    assert "Kept as a challenger" not in page
    served = client.get(f"/projects/{made.project_id}/status").json()["served"]
    assert served["version"] == served["decided"] == latest
    assert served["reason"].startswith("the rim is tighter")


def test_a_running_training_shows_what_it_does_how_far_it_is_and_its_losses(
    client: TestClient, redis: Redis, review_studio: FakeLabelStudio
) -> None:
    project_id = _begin_project(review_studio)
    client.post("/train", json={"project": project_id})
    (job,) = fetch_jobs(redis, f"train-{project_id}-1")
    assert job is not None
    job.set_status(JobStatus.STARTED)
    progress = {"phase": "training", "head": "semantic", "step": 8, "loss": 0.4, "share": 0.42, "left_s": 130.0}
    write_meta(redis, job, {"progress": progress, "losses": {"semantic head": [[4, 0.6], [8, 0.4]]}})
    page = _page(client, f"/review/{project_id}")
    assert 'data-live="phase">Learning masks without prompts (semantic head)<' in page
    assert '<progress data-live="bar" max="1" value="0.42" aria-label="Progress of the training">' in page
    assert 'data-live="left">42 %, 2 min left<' in page
    status = client.get(f"/projects/{project_id}/status").json()
    assert status["losses"] == {"semantic head": [[4.0, 0.6], [8.0, 0.4]]}


def test_the_overview_tells_how_good_the_masks_are_in_peoples_hands(
    client: TestClient, here: str, made: Reviewed
) -> None:
    assert "Live evaluation" not in _page(client, here)
    masks = [[made.versions[1], HOSTILE, 0.875, 0.625, True], [made.versions[1], "Disc", 0.5, 0.25, False]]
    ledger = made.settings.registry.model_dir / "live" / str(made.project_id) / "annotations.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    told = {"k": "done", "a": 5, "at": "2026-11-23T12:00:00Z", "lead_s": 3.25, "m": masks}
    ledger.write_text(json.dumps(told) + "\n")
    try:
        page = unescape(_page(client, here))
    finally:
        ledger.unlink()
    row = page[page.index(f"<b>{made.versions[1]}</b>") :]
    assert re.findall(r"<td>([^<]*)</td>", row)[:7] == ["2", "0.688", "0.438", "50 %", "1", "3.2", "0.438"]
    assert HOSTILE in row
    assert "<script>" not in _page(client, here)


def test_versions_stand_in_a_table_with_their_intervals_and_two_can_be_compared(
    client: TestClient, here: str, made: Reviewed
) -> None:
    manifest = LocalRegistry(made.settings.registry.model_dir).manifest(made.versions[1])
    figures, difference = manifest.metrics.candidate, manifest.metrics.difference
    assert figures is not None
    assert difference is not None
    page = unescape(_page(client, f"{here}/versions"))
    assert page.index(made.versions[1]) < page.index(made.versions[0]), "the newest first"
    assert f"{figures.with_prompt('box').iou:.3f}" in page
    mean, low, high = difference["box"]["over_area"]
    shown = [_format_signed(figure) for figure in (mean, low, high)]
    assert f"{shown[0]}<br>[{shown[1]}, {shown[2]}]" in page
    assert "6 objects on 3 images held out" in page
    assert client.get(f"{here}/report/{made.versions[1]}").text.startswith("<!doctype html>")
    assert "sandbox" in client.get(f"{here}/report/{made.versions[1]}").headers["content-security-policy"]

    pair = unescape(_page(client, f"{here}/versions?a={made.versions[0]}&b={made.versions[1]}"))
    assert "Means over the 6 objects, on 3 images, that were held out from both" in pair
    assert pair.count('<th scope="row">Boundary IoU, ') == 2
    base = unescape(_page(client, f"{here}/versions?a=base&b={made.versions[1]}"))
    assert f"a: {made.base}" in base
    assert f"{here}/masks?version={made.versions[1]}&against=base" in base
    assert 'id="compared"' in _page(client, f"{here}/versions?a={made.versions[1]}&b=base"), "the base may be b"
    assert client.get(f"{here}/versions?a=tiny-p1-v99-000000&b={made.versions[1]}").status_code == 404


def test_masks_come_with_outlines_figures_and_links_in_the_order_asked_for(
    client: TestClient, here: str, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    objects = {item.key: item for item in read_review(folder)}
    assert LocalRegistry(made.settings.registry.model_dir).manifest(made.versions[1]).files[REVIEW_FILE]
    for sort, figure in [
        ("tightened", lambda o: o.drawn["box", "base"].boundary_iou - o.drawn["box", "candidate"].boundary_iou),
        ("worsened", lambda o: o.drawn["box", "candidate"].boundary_iou - o.drawn["box", "base"].boundary_iou),
        ("uncertain", lambda o: o.drawn["box", "candidate"].score),
    ]:
        page = _page(client, f"{here}/masks?sort={sort}&version={made.versions[1]}")
        found = [figure(objects[key]) for key in _keys(page)]
        assert found == sorted(found)
        assert len(found) == 6
    item = objects[_keys(page)[0]]
    drawn = item.drawn["box", "candidate"]
    card = unescape(page[page.index(f'id="m-{item.key}"') :].partition("</li>")[0])
    assert f'href="{review_studio.url}/projects/{made.project_id}/data?task={item.task_id}"' in card
    for shown in (f"<td>{drawn.over_px}</td>", f"<td>{drawn.under_px}</td>", f"<td>{drawn.iou:.3f}</td>"):
        assert shown in card
    assert re.search(r'<path class="human" d="M\d', card)
    assert len(_keys(_page(client, f"{here}/masks?label=Disc"))) == 3
    assert _keys(_page(client, f"{here}/masks?flag=wrong")) == []
    assert _keys(_page(client, f"{here}/masks?page=2")) == []
    against = _page(client, f"{here}/masks?version={made.versions[1]}&against={made.versions[0]}&prompt=point")
    assert len(_keys(against)) == 6


def test_a_picture_is_sent_at_the_size_it_is_shown_and_only_once_in_sight(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = _page(client, f"{here}/masks")
    assert page.count("<img ") == page.count('loading="lazy"') == 6
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    item = next(entry for entry in read_review(folder) if entry.key == _keys(page)[0])
    crop = client.get(f"{here}/crops/{made.versions[1]}/{item.key}/160")
    assert crop.headers["content-type"] == "image/webp"
    assert "immutable" in crop.headers["cache-control"]
    assert Image.open(io.BytesIO(crop.content)).size == (item.window[3], item.window[2])
    assert client.get(f"{here}/crops/{made.versions[1]}/{item.key}/161").status_code == 404
    assert client.get(f"{here}/crops/{made.versions[1]}/{item.key}/edge").headers["content-type"] == "image/webp"


def test_one_mask_can_be_looked_at_closely_and_leads_to_its_neighbours(
    client: TestClient, here: str, made: Reviewed
) -> None:
    keys = _keys(_page(client, f"{here}/masks?sort=worsened"))
    page = _page(client, f"{here}/masks/{made.versions[1]}/{keys[1]}?sort=worsened")
    assert re.search(rf'rel="prev" href="[^"]*/{keys[0]}\?', page)
    assert re.search(rf'rel="next" href="[^"]*/{keys[2]}\?', page)
    assert 'type="range"' in page
    assert client.get(f"{here}/masks/{made.versions[1]}/0123").status_code == 404


def test_flags_are_kept_counted_by_analyst_and_exported(client: TestClient, here: str, made: Reviewed) -> None:
    version = made.versions[1]
    first, second = _keys(_page(client, f"{here}/masks"))[:2]
    fields = {"version": version, "prompt": "box"}
    assert (
        client.post(f"{here}/analyst", data={"analyst": "=Ada\n"}, headers=OURS, follow_redirects=False).status_code
        == 303
    )
    _flag(client, here, **fields, key=first, verdict="accept")
    _flag(client, here, **fields, key=first, verdict="wrong")
    back = _flag(client, here, **fields, key=second, verdict="too loose")
    assert (back.status_code, back.headers["location"]) == (303, f"{here}/masks")
    client.cookies.clear()
    accepted = {**fields, "key": first, "verdict": "accept"}
    told = client.post(f"{here}/flags", data=accepted, headers={**OURS, "Accept": "application/json"}).json()
    assert told["mask"] == {"accept": 1, "too loose": 0, "too tight": 0, "wrong": 1}
    assert told["version"] == {"accept": 1, "too loose": 1, "too tight": 0, "wrong": 1}
    page = _page(client, f"{here}/masks?flag=wrong")
    assert _keys(page) == [first]
    assert '<span data-count="wrong">1</span>' in page
    assert page.count('aria-pressed="true"') == 1, "what this analyst said, not what the other did"

    table = list(csv.DictReader(io.StringIO(client.get(f"{here}/flags.csv").content.decode("utf-8-sig"))))
    assert [(row["analyst"], row["verdict"]) for row in table] == [
        ("'=Ada", "wrong"),
        ("'=Ada", "too loose"),
        ("analyst", "accept"),
    ]
    assert {row["version"] for row in table} == {version}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"verdict": "meh"}, 400),
        ({"prompt": "scribble"}, 400),
        ({"key": "0123"}, 404),
        ({"version": "mobile-sam-p2-v1-000000"}, 404),
        ({"version": "../../etc/passwd"}, 404),
    ],
)
def test_a_flag_of_nothing_is_refused(
    client: TestClient, here: str, made: Reviewed, changed: dict[str, str], status: int
) -> None:
    key = _keys(_page(client, f"{here}/masks"))[0]
    fields = {"version": made.versions[1], "prompt": "box", "key": key, "verdict": "wrong"} | changed
    answer = _flag(client, here, **fields)
    assert (answer.status_code, "That did not work" in answer.text) == (status, True)
    assert client.get(f"{here}/flags.csv").text.count("\n") == 1


def test_what_is_loose_or_wrong_goes_to_a_tab_of_label_studio(
    client: TestClient, here: str, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    assert client.post(f"{here}/queue", data={"version": made.versions[1]}, headers=OURS).status_code == 404
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    chosen = {item.task_id: item.key for item in read_review(folder)}
    verdicts = dict(zip(sorted(chosen), ["wrong", "accept", "too loose", "too tight"], strict=False))
    for task_id, verdict in verdicts.items():
        _flag(client, here, version=made.versions[1], prompt="point", key=chosen[task_id], verdict=verdict)
    page = client.post(f"{here}/queue", data={"version": made.versions[1]}, headers=OURS)
    assert page.status_code == 200
    label_studio = LabelStudio(review_studio.url, review_studio.token)
    (tab,) = [view for view in label_studio.tabs.all(made.project_id) if view["data"]["title"] == TAB]
    assert f'href="{review_studio.url}/projects/{made.project_id}/data?tab={tab["id"]}"' in page.text
    wanted = [task_id for task_id, verdict in verdicts.items() if verdict in {"wrong", "too loose"}]
    assert [rule["value"] for rule in tab["data"]["filters"]["items"]] == wanted
    assert tab["data"]["filters"]["conjunction"] == "or"


def test_the_data_page_shows_what_was_left_out_and_where_a_model_and_a_person_disagree(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = unescape(_page(client, f"{here}/data"))
    assert "the annotator skipped the task" in page
    assert "6 objects" in page
    assert HOSTILE in page
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    doubt = {item.key: item.drawn["box", "candidate"] for item in read_review(folder)}
    shown = re.findall(r"masks/[^/]+/([0-9a-f]+)\?prompt=box&sort=disagreeing", page)
    conviction = [doubt[key].predicted_iou - doubt[key].iou for key in shown]
    assert conviction == sorted(conviction, reverse=True)
    assert len(shown) == sum(item.predicted_iou - item.iou >= 0.1 for item in doubt.values())


def test_promoting_and_rolling_back_on_the_page_changes_what_is_served(
    client: TestClient, here: str, made: Reviewed
) -> None:
    registry, version = LocalRegistry(made.settings.registry.model_dir), made.versions[1]
    number = _number(registry, made)
    asked = unescape(_page(client, f"{here}/decide?version={version}"))
    assert "Promote v2" in asked
    reason = "<b>tighter</b> on\nnuclei"
    form = {"version": version, "number": str(number), "reason": reason}
    done = client.post(f"{here}/decide", data=form, headers=OURS, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, f"{here}/versions")
    wait_until(lambda: _served(client, made) == version)
    champion = registry.champion(made.project_id)
    assert champion is not None
    assert champion.reason == "<b>tighter</b> on nuclei (analyst, on the review page)"
    assert champion.reason in unescape(_page(client, f"{here}/versions"))
    assert "<b>tighter" not in _page(client, f"{here}/versions")

    assert client.post(f"{here}/decide", data=form, headers=OURS).status_code == 409, "somebody decided meanwhile"
    assert f"Roll back to {made.base}" in _page(client, f"{here}/decide?version=base")
    back = {"version": "base", "number": str(number + 1), "reason": "too tight after all"}
    assert client.post(f"{here}/decide", data={**back, "reason": " "}, headers=OURS).status_code == 400
    assert client.post(f"{here}/decide", data=back, headers=OURS).status_code == 200
    wait_until(lambda: _served(client, made) == made.base)


def _number(registry: LocalRegistry, made: Reviewed) -> int:
    champion = registry.champion(made.project_id)
    return champion.number if champion else 0


@pytest.mark.parametrize("path", ["decide", "flags", "queue", "analyst", "refresh", "train"])
def test_another_sites_page_changes_nothing(client: TestClient, here: str, made: Reviewed, path: str) -> None:
    key = _keys(_page(client, f"{here}/masks"))[0]
    fields = {
        "version": made.versions[1],
        "prompt": "box",
        "key": key,
        "verdict": "wrong",
        "analyst": "Eve",
        "reason": "x",
        "number": str(_number(LocalRegistry(made.settings.registry.model_dir), made)),
    }
    for headers in ({}, {"Origin": "http://evil.example"}, {**OURS, "Sec-Fetch-Site": "cross-site"}):
        answer = client.post(f"{here}/{path}", data=fields, headers=headers, follow_redirects=False)
        assert answer.status_code == 403
        assert "did not come from one of samloop's own pages" in unescape(answer.text)
        assert "set-cookie" not in answer.headers
    assert _served(client, made) == made.base
    assert client.get(f"{here}/flags.csv").text.count("\n") == 1
    assert client.get(here, headers={"Host": "evil.example"}).status_code == 403


def test_one_button_asks_for_fresh_masks_and_another_ends_them(
    client: TestClient, redis: Redis, review_studio: FakeLabelStudio
) -> None:
    project_id = _begin_project(review_studio)  # where no decision asks for any
    here, keys = f"/review/{project_id}", Keys(project_id, "refresh")
    page = _page(client, here)
    assert re.search(r'refresh-end" hidden>Cancel', page)

    asked = client.post(f"{here}/refresh", data={"wanted": "yes"}, headers=OURS, follow_redirects=False)

    assert (asked.status_code, asked.headers["location"]) == (303, here)
    assert client.get(f"/projects/{project_id}/status").json()["refresh"]["phase"] == "queued"
    page = _page(client, here)
    assert re.search(r'data-live="refresh">queued<', page)
    assert not re.search(r'refresh-end" hidden>Cancel', page)
    assert client.post(f"{here}/refresh", data={"wanted": "no"}, headers=OURS).status_code == 200
    assert int(redis.get(keys.cancelled)) == int(redis.get(keys.wanted)) == 1


def test_one_button_starts_a_training_and_another_ends_it(client: TestClient, review_studio: FakeLabelStudio) -> None:
    project_id = _begin_project(review_studio)
    here = f"/review/{project_id}"
    assert re.search(r'training-end" hidden>Cancel', _page(client, here))
    assert client.post(f"{here}/train", data={"wanted": "yes"}, headers=OURS).status_code == 200
    assert client.get(f"/projects/{project_id}/status").json()["phase"] == "queued"
    assert not re.search(r'training-end" hidden>Cancel', _page(client, here))
    assert client.post(f"{here}/train", data={"wanted": "no"}, headers=OURS).status_code == 200
    page = _page(client, here)
    assert re.search(r'data-live="phase">idle<', page)
    assert re.search(r'data-live="cancelled">cancelled <time [^<]* UTC<', page)


def test_a_body_that_is_no_form_is_refused(client: TestClient, here: str) -> None:
    for body, kind in [
        (json.dumps({"verdict": "wrong"}).encode(), "application/json"),
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 30), "application/x-www-form-urlencoded"),
        (b"a=\xff", "application/x-www-form-urlencoded"),
    ]:
        answer = client.post(f"{here}/flags", content=body, headers={**OURS, "Content-Type": kind})
        assert answer.status_code in {400, 413}, kind


def test_with_credentials_nobody_sees_a_page_without_them(made: Reviewed, redis: Redis, here: str) -> None:
    settings = made.settings.changed(basic_auth_user="ada", basic_auth_pass="secret")
    client = TestClient(create_app(settings, connection=redis), base_url="http://127.0.0.1:9090")
    assert client.get(here).status_code == 401
    assert client.get("/review/static/review.js").status_code == 401
    assert client.get(here, auth=("ada", "secret")).status_code == 200


def test_a_project_without_a_version_has_pages_too(client: TestClient, review_studio: FakeLabelStudio) -> None:
    project_id = _begin_project(review_studio)
    for path in ("", "/versions", "/masks", "/data"):
        assert "yet" in _page(client, f"/review/{project_id}{path}")
    assert client.get("/review/0").status_code == 400
    assert client.get("/review/77/report/tiny-p77-v1-000000").status_code == 404


def test_a_version_of_before_says_that_it_kept_no_masks(
    made: Reviewed, client: TestClient, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every version is that was published before masks were kept."""
    registry = LocalRegistry(made.settings.registry.model_dir)
    old = registry.manifest(made.versions[0])
    weights = (registry.materialise(made.versions[0]) / "model.safetensors").read_bytes()
    manifest = registry.publish(
        78, weights=weights, manifest=replace(old, project_id=78, metrics=CheckpointMetrics(), excluded=())
    )
    assert "stored without its masks" in _page(client, "/review/78/masks")
    assert "stored without its masks" in _page(client, "/review/78/data")
    assert manifest.version in _page(client, "/review/78/versions")
    assert client.get(f"{here}/masks?version={manifest.version}").status_code == 404


def test_masks_of_another_project_are_not_shown_even_where_its_number_is_in_the_bases_name(tmp_path: Path) -> None:
    registry = LocalRegistry(tmp_path)
    manifest = make_manifest(project_id=7, base_model="tiny-p2-v3-abcdef", base_fingerprint="0" * 64)
    version = registry.publish(7, weights=b"weights", manifest=manifest).version
    nothing: Any = None
    pages = Pages(
        registry=registry,
        connections=nothing,
        flags=nothing,
        base_version=nothing,
        served_version=nothing,
        status=nothing,
        trained=nothing,
    )
    with pytest.raises(NotFound, match="is no version of project 2"):
        pages.reviewed.object(2, version, "0" * 20)
    with pytest.raises(NotFound, match="was not measured on an object"):
        pages.reviewed.object(7, version, "0" * 20)


def test_a_page_full_of_slow_pictures_takes_no_thread_from_label_studio(
    client: TestClient, here: str, made: Reviewed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio waits three seconds for /setup; a server has forty threads for all that is short."""
    arrived, may_go = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> bytes:
        arrived.set()
        may_go.wait(120)
        return b"RIFF"

    monkeypatch.setattr(Crops, "crop", slow)
    key = _keys(_page(client, f"{here}/masks"))[0]
    with ThreadPoolExecutor(60) as browsers:
        try:
            asked = [
                browsers.submit(client.get, f"{here}/crops/{made.versions[1]}/{key}/{size}")
                for size in (160, 320, 640) * 20
            ]
            assert arrived.wait(120)
            assert client.post("/setup", json={"project": f"{made.project_id}.1"}).status_code == 200
            assert client.get("/health").status_code == 200
            assert not any(answer.done() for answer in asked)
        finally:
            may_go.set()
        assert {answer.result().status_code for answer in asked} == {200}
