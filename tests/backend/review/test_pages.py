"""The pages about versions and projects, over two versions of a real training."""

import json
import re
from html import unescape

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import HOSTILE, Reviewed
from fakes.studio_setup import StudioSetup
from redis import Redis
from rq.job import JobStatus
from starlette.testclient import TestClient
from support.review_pages import begin_project, read_page

from backend.registry.local import LocalRegistry
from backend.registry.review_file import read_review
from backend.review.masks.suspicion import Doubt, doubt_annotation
from backend.review.rendering import _format_signed
from backend.work.keys import Keys
from backend.work.rq_internals import write_meta
from backend.work.status import fetch_jobs


def test_the_overview_tells_what_is_served_the_verdict_and_the_trend(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = unescape(read_page(client, here))
    champion = LocalRegistry(made.settings.registry.model_dir).champion(
        made.project_id
    )  # that of a test before, if any
    assert ("no version was promoted yet" if champion is None else f"by decision {champion.number}") in page
    assert "Not promoted: kept as a challenger" in page
    assert "no certain gain over <i>tiny</i>" in page
    assert f'data-events="/projects/{made.project_id}/events"' in page
    assert page.count('class="dot ') == 8, "two versions, two prompts, the base beside every version"


def test_all_projects_are_listed_with_what_is_served_and_lead_to_their_pages_and_to_label_studio(
    client: TestClient, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    page = read_page(client, "/review")
    assert f'<a href="/review/{made.project_id}"><b>discs</b></a>' in page
    assert f'href="{review_studio.url}/projects/{made.project_id}/data"' in page
    row = page.partition(f'href="/review/{made.project_id}"')[2].partition("</tr>")[0]
    assert "<td>2</td>" in row, "versions"
    assert "3 of 4" in row, "the fourth task was skipped"
    assert made.base in row


def test_the_overview_leads_back_to_label_studio_and_to_all_projects(
    client: TestClient, here: str, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    page = read_page(client, here)
    assert "<h1>discs</h1>" in page
    assert f'href="{review_studio.url}/projects/{made.project_id}/data"' in page
    assert '<a href="/review"><b>samloop</b></a>' in page
    assert "3 of 4 tasks annotated" in page


def test_the_overview_says_what_webhooks_missed(client: TestClient, here: str, made: Reviewed, redis: Redis) -> None:
    key = Keys(made.project_id).missed
    redis.set(key, json.dumps({"at": "2026-11-24T08:16:40+00:00", "changes": 3, "webhook_restored": True}))
    page = read_page(client, here)
    redis.delete(key)
    assert "No webhook reported 3 annotations, which samloop counts since" in page
    assert "The project's webhook was missing, and was created again." in unescape(page)
    assert "No webhook reported" not in read_page(client, here)


def test_a_project_that_cannot_train_yet_says_what_it_lacks(client: TestClient, review_studio: FakeLabelStudio) -> None:
    studio, project_id = StudioSetup(review_studio.url, review_studio.token), begin_project(review_studio)
    studio.import_tasks(project_id, [{"data": {"image": "/a.png"}}])
    (task,) = studio.tasks(project_id)
    studio.create_annotation(task["id"], [])
    assert "1 of at least 2 images annotated" in read_page(client, f"/review/{project_id}")
    assert "a training needs 2" in read_page(client, "/review")


def test_a_queue_that_nobody_works_off_says_so(client: TestClient, here: str, made: Reviewed) -> None:
    assert client.get(f"/projects/{made.project_id}/status").json()["queue"]["workers"] == 0
    assert "no worker runs; start one: samloop worker" in read_page(client, here)


def test_moments_are_marked_for_the_readers_own_time(client: TestClient, here: str) -> None:
    assert re.search(
        r'<time datetime="[^"]+\+00:00">[-0-9]{10} [0-9:]{5} UTC</time>', read_page(client, f"{here}/versions")
    )


def test_a_running_training_shows_what_it_does_how_far_it_is_and_its_losses(
    client: TestClient, redis: Redis, review_studio: FakeLabelStudio
) -> None:
    project_id = begin_project(review_studio)
    client.post("/train", json={"project": project_id})
    (job,) = fetch_jobs(redis, f"train-{project_id}-1")
    assert job is not None
    job.set_status(JobStatus.STARTED)
    progress = {"phase": "training", "head": "semantic", "step": 8, "loss": 0.4, "share": 0.42, "left_s": 130.0}
    write_meta(redis, job, {"progress": progress, "losses": {"semantic head": [[4, 0.6], [8, 0.4]]}})
    page = read_page(client, f"/review/{project_id}")
    assert 'data-live="phase">Learning masks without prompts (semantic head)<' in page
    assert '<progress data-live="bar" max="1" value="0.42" aria-label="Progress of the training">' in page
    assert 'data-live="left">42 %, 2 min left<' in page
    status = client.get(f"/projects/{project_id}/status").json()
    assert status["losses"] == {"semantic head": [[4.0, 0.6], [8.0, 0.4]]}


def test_the_overview_tells_how_good_the_masks_are_in_peoples_hands(
    client: TestClient, here: str, made: Reviewed
) -> None:
    assert "Live evaluation" not in read_page(client, here)
    masks = [[made.versions[1], HOSTILE, 0.875, 0.625, True], [made.versions[1], "Disc", 0.5, 0.25, False]]
    ledger = made.settings.registry.model_dir / "live" / str(made.project_id) / "annotations.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    told = {"k": "done", "a": 5, "at": "2026-11-23T12:00:00Z", "lead_s": 3.25, "m": masks}
    ledger.write_text(json.dumps(told) + "\n")
    try:
        page = unescape(read_page(client, here))
    finally:
        ledger.unlink()
    row = page[page.index(f"<b>{made.versions[1]}</b>") :]
    assert re.findall(r"<td>([^<]*)</td>", row)[:7] == ["2", "0.688", "0.438", "50 %", "1", "3.2", "0.438"]
    assert HOSTILE in row
    assert "<script>" not in read_page(client, here)


def test_versions_stand_in_a_table_with_their_intervals_and_two_can_be_compared(
    client: TestClient, here: str, made: Reviewed
) -> None:
    manifest = LocalRegistry(made.settings.registry.model_dir).manifest(made.versions[1])
    figures, difference = manifest.metrics.candidate, manifest.metrics.difference
    assert figures is not None
    assert difference is not None
    page = unescape(read_page(client, f"{here}/versions"))
    assert page.index(made.versions[1]) < page.index(made.versions[0]), "the newest first"
    assert f"{figures.with_prompt('box').iou:.3f}" in page
    mean, low, high = difference["box"]["over_area"]
    shown = [_format_signed(figure) for figure in (mean, low, high)]
    assert f"{shown[0]}<br>[{shown[1]}, {shown[2]}]" in page
    assert "6 objects on 3 images held out" in page
    assert client.get(f"{here}/report/{made.versions[1]}").text.startswith("<!doctype html>")
    assert "sandbox" in client.get(f"{here}/report/{made.versions[1]}").headers["content-security-policy"]

    pair = unescape(read_page(client, f"{here}/versions?a={made.versions[0]}&b={made.versions[1]}"))
    assert "Means over the 6 objects on 3 images that were held out from both" in pair
    assert pair.count('<th scope="row">Boundary IoU, ') == 2
    base = unescape(read_page(client, f"{here}/versions?a=base&b={made.versions[1]}"))
    assert f"a: {made.base}" in base
    assert f"{here}/masks?version={made.versions[1]}&against=base" in base
    assert 'id="compared"' in read_page(client, f"{here}/versions?a={made.versions[1]}&b=base"), "the base may be b"
    assert client.get(f"{here}/versions?a=tiny-p1-v99-000000&b={made.versions[1]}").status_code == 404


def test_the_data_page_shows_what_was_left_out_and_where_a_model_and_a_person_disagree(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = unescape(read_page(client, f"{here}/data"))
    assert "the annotator skipped the task" in page
    assert "6 objects" in page
    assert HOSTILE in page
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    doubts = {item.key: doubt for item in read_review(folder) if (doubt := doubt_annotation(item)) is not None}
    shown = re.findall(r"masks/[^/]+/([0-9a-f]+)\?prompt=(box|point)&sort=disagreeing", page)
    assert dict(shown) == {key: doubt.prompt for key, doubt in doubts.items()}
    strengths = [doubts[key].by for key, _ in shown]
    assert strengths == sorted(strengths, reverse=True)


def test_the_data_page_names_the_label_that_an_object_looks_like(
    client: TestClient, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Doubt(prompt="box", by=0.85, looks_like=HOSTILE)
    monkeypatch.setattr("backend.review.pages.doubt_annotation", lambda _: doubt)
    page = unescape(read_page(client, f"{here}/data"))
    assert page.count(f"looks like <b>{HOSTILE}</b>, more probable by 85 percentage points") == 6
