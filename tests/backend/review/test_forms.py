"""What analysts send from the pages: flags, decisions, trainings and refreshes; and what another site may not."""

import csv
import io
import json
import re
from html import unescape

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import Reviewed
from redis import Redis
from starlette.testclient import TestClient
from support.review_pages import OURS, begin_project, last_decision, list_keys, read_page, send_flag, served_version
from support.waiting import wait_until

from backend.labelstudio.api.client import LabelStudio
from backend.registry.local import LocalRegistry
from backend.registry.review_file import read_review
from backend.review.tasks import TAB
from backend.work.keys import Keys


def test_flags_are_kept_counted_by_analyst_and_exported(client: TestClient, here: str, made: Reviewed) -> None:
    version = made.versions[1]
    first, second = list_keys(read_page(client, f"{here}/masks"))[:2]
    fields = {"version": version, "prompt": "box"}
    assert (
        client.post(f"{here}/analyst", data={"analyst": "=Ada\n"}, headers=OURS, follow_redirects=False).status_code
        == 303
    )
    send_flag(client, here, **fields, key=first, verdict="accept")
    send_flag(client, here, **fields, key=first, verdict="wrong")
    back = send_flag(client, here, **fields, key=second, verdict="too loose")
    assert (back.status_code, back.headers["location"]) == (303, f"{here}/masks")
    client.cookies.clear()
    accepted = {**fields, "key": first, "verdict": "accept"}
    told = client.post(f"{here}/flags", data=accepted, headers={**OURS, "Accept": "application/json"}).json()
    assert told["mask"] == {"accept": 1, "too loose": 0, "too tight": 0, "wrong": 1}
    assert told["version"] == {"accept": 1, "too loose": 1, "too tight": 0, "wrong": 1}
    page = read_page(client, f"{here}/masks?flag=wrong")
    assert list_keys(page) == [first]
    assert '<span data-count="wrong">1</span>' in page
    assert page.count('aria-pressed="true"') == 1, "what this analyst said, not what the other did"

    table = list(csv.DictReader(io.StringIO(client.get(f"{here}/flags.csv").content.decode("utf-8-sig"))))
    assert [(row["analyst"], row["verdict"]) for row in table] == [
        ("'=Ada", "wrong"),
        ("'=Ada", "too loose"),
        ("analyst", "accept"),
    ]
    assert {row["version"] for row in table} == {version}


def test_several_masks_are_flagged_together(client: TestClient, here: str, made: Reviewed) -> None:
    keys = list_keys(read_page(client, f"{here}/masks"))
    fields = {"version": made.versions[1], "prompt": "box", "verdict": "too loose"}
    back = client.post(f"{here}/flags", data={**fields, "key": keys[:4]}, headers=OURS, follow_redirects=False)
    assert back.status_code == 303
    assert set(list_keys(read_page(client, f"{here}/masks?flag=too+loose"))) == set(keys[:4])
    none = client.post(f"{here}/flags", data=fields, headers=OURS)
    assert (none.status_code, "no mask is chosen: tick some" in none.text) == (400, True)
    assert client.post(f"{here}/flags", data={**fields, "key": [keys[0], "0123"]}, headers=OURS).status_code == 404


def test_a_note_is_kept_with_the_mask_and_outlives_a_flag(client: TestClient, here: str, made: Reviewed) -> None:
    key = list_keys(read_page(client, f"{here}/masks"))[0]
    fields = {"version": made.versions[1], "prompt": "box", "key": key}
    send_flag(client, here, **fields, verdict="none", note="<b>two</b>\ncells")
    send_flag(client, here, **fields, verdict="wrong")
    page = read_page(client, f"{here}/masks?flag=note")
    assert list_keys(page) == [key]
    assert "analyst: <b>two</b> cells" in unescape(page)
    assert "<b>two" not in page
    large = read_page(client, f"{here}/masks/{made.versions[1]}/{key}")
    assert "&lt;b&gt;two&lt;/b&gt; cells</textarea>" in large
    (row,) = csv.DictReader(io.StringIO(client.get(f"{here}/flags.csv").content.decode("utf-8-sig")))
    assert (row["verdict"], row["note"]) == ("wrong", "<b>two</b> cells")


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
    key = list_keys(read_page(client, f"{here}/masks"))[0]
    fields = {"version": made.versions[1], "prompt": "box", "key": key, "verdict": "wrong"} | changed
    answer = send_flag(client, here, **fields)
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
        send_flag(client, here, version=made.versions[1], prompt="point", key=chosen[task_id], verdict=verdict)
    page = client.post(f"{here}/queue", data={"version": made.versions[1]}, headers=OURS)
    assert page.status_code == 200
    label_studio = LabelStudio(review_studio.url, review_studio.token)
    (tab,) = [view for view in label_studio.tabs.all(made.project_id) if view["data"]["title"] == TAB]
    assert f'href="{review_studio.url}/projects/{made.project_id}/data?tab={tab["id"]}"' in page.text
    wanted = [task_id for task_id, verdict in verdicts.items() if verdict in {"wrong", "too loose"}]
    assert [rule["value"] for rule in tab["data"]["filters"]["items"]] == wanted
    assert tab["data"]["filters"]["conjunction"] == "or"


def test_promoting_and_rolling_back_on_the_page_changes_what_is_served(
    client: TestClient, here: str, made: Reviewed
) -> None:
    registry, version = LocalRegistry(made.settings.registry.model_dir), made.versions[1]
    number = last_decision(registry, made)
    asked = unescape(read_page(client, f"{here}/decide?version={version}"))
    assert "Promote v2" in asked
    reason = "<b>tighter</b> on\nnuclei"
    form = {"version": version, "number": str(number), "reason": reason}
    done = client.post(f"{here}/decide", data=form, headers=OURS, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, f"{here}/versions")
    wait_until(lambda: served_version(client, made) == version)
    champion = registry.champion(made.project_id)
    assert champion is not None
    assert champion.reason == "<b>tighter</b> on nuclei (analyst, on the review page)"
    assert champion.reason in unescape(read_page(client, f"{here}/versions"))
    assert "<b>tighter" not in read_page(client, f"{here}/versions")

    assert client.post(f"{here}/decide", data=form, headers=OURS).status_code == 409, "somebody decided meanwhile"
    assert f"Roll back to {made.base}" in read_page(client, f"{here}/decide?version=base")
    back = {"version": "base", "number": str(number + 1), "reason": "too tight after all"}
    assert client.post(f"{here}/decide", data={**back, "reason": " "}, headers=OURS).status_code == 400
    assert client.post(f"{here}/decide", data=back, headers=OURS).status_code == 200
    wait_until(lambda: served_version(client, made) == made.base)


def test_a_version_that_a_person_promotes_is_shown_at_once_with_the_reason_and_no_verdict_against_it(
    client: TestClient, here: str, made: Reviewed
) -> None:
    latest = made.versions[1]
    number = re.search(r'name="number" value="(\d+)"', read_page(client, f"{here}/decide?version={latest}"))
    assert number is not None
    form = {"version": latest, "number": number[1], "reason": "the rim is tighter"}
    answer = client.post(f"{here}/decide", data=form, headers=OURS)
    assert f'<b>{latest.partition("-p1-")[2]}</b> <span class="badge">served</span>' in answer.text
    page = unescape(read_page(client, here))
    assert f'data-live="served">{latest}<' in page
    assert 'data-live="why">the rim is tighter (analyst, on the review page)<' in page
    assert "Served because a person decided so" in page
    assert "Not promoted: kept" not in page
    served = client.get(f"/projects/{made.project_id}/status").json()["served"]
    assert served["version"] == served["decided"] == latest
    assert served["reason"].startswith("the rim is tighter")


@pytest.mark.parametrize("path", ["decide", "flags", "queue", "analyst", "refresh", "train"])
def test_another_sites_page_changes_nothing(client: TestClient, here: str, made: Reviewed, path: str) -> None:
    key = list_keys(read_page(client, f"{here}/masks"))[0]
    fields = {
        "version": made.versions[1],
        "prompt": "box",
        "key": key,
        "verdict": "wrong",
        "analyst": "Eve",
        "reason": "x",
        "number": str(last_decision(LocalRegistry(made.settings.registry.model_dir), made)),
    }
    for headers in ({}, {"Origin": "http://evil.example"}, {**OURS, "Sec-Fetch-Site": "cross-site"}):
        answer = client.post(f"{here}/{path}", data=fields, headers=headers, follow_redirects=False)
        assert answer.status_code == 403
        assert "did not come from one of samloop's own pages" in unescape(answer.text)
        assert "set-cookie" not in answer.headers
    assert served_version(client, made) == made.base
    assert client.get(f"{here}/flags.csv").text.count("\n") == 1
    assert client.get(here, headers={"Host": "evil.example"}).status_code == 403


def test_one_button_asks_for_fresh_masks_and_another_ends_them(
    client: TestClient, redis: Redis, review_studio: FakeLabelStudio
) -> None:
    project_id = begin_project(review_studio)  # where no decision asks for any
    here, keys = f"/review/{project_id}", Keys(project_id, "refresh")
    page = read_page(client, here)
    assert re.search(r'refresh-end" hidden>Cancel', page)

    asked = client.post(f"{here}/refresh", data={"wanted": "yes"}, headers=OURS, follow_redirects=False)

    assert (asked.status_code, asked.headers["location"]) == (303, here)
    assert client.get(f"/projects/{project_id}/status").json()["refresh"]["phase"] == "queued"
    page = read_page(client, here)
    assert re.search(r'data-live="refresh">queued<', page)
    assert not re.search(r'refresh-end" hidden>Cancel', page)
    assert client.post(f"{here}/refresh", data={"wanted": "no"}, headers=OURS).status_code == 200
    assert int(redis.get(keys.cancelled)) == int(redis.get(keys.wanted)) == 1


def test_one_button_starts_a_training_and_another_ends_it(client: TestClient, review_studio: FakeLabelStudio) -> None:
    project_id = begin_project(review_studio)
    here = f"/review/{project_id}"
    assert re.search(r'training-end" hidden>Cancel', read_page(client, here))
    assert client.post(f"{here}/train", data={"wanted": "yes"}, headers=OURS).status_code == 200
    assert client.get(f"/projects/{project_id}/status").json()["phase"] == "queued"
    assert not re.search(r'training-end" hidden>Cancel', read_page(client, here))
    assert client.post(f"{here}/train", data={"wanted": "no"}, headers=OURS).status_code == 200
    page = read_page(client, here)
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
