"""What holds on every page: its policy, its credentials, and its answer for a project that has nothing."""

import re
from html import unescape

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import HOSTILE, Reviewed
from redis import Redis
from starlette.testclient import TestClient
from support.review_pages import begin_project, list_keys, read_page

from backend.server.app import create_app


def test_no_page_takes_anything_from_elsewhere_or_lets_a_label_be_more_than_text(
    client: TestClient, here: str, made: Reviewed
) -> None:
    key = list_keys(read_page(client, f"{here}/masks"))[0]
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
    assert HOSTILE in unescape(read_page(client, f"{here}/masks"))


def test_an_unknown_project_is_said_to_be_none(client: TestClient, made: Reviewed) -> None:
    answer = client.get("/review/987654")
    assert answer.status_code == 404
    assert "has no project 987654, or this key may not see it; it has 1" in unescape(answer.text)
    assert 'href="/review"' in answer.text
    assert "/review/987654/" not in answer.text, "it has no other pages"


@pytest.mark.parametrize("path", ["/nothing", "/masks/tiny-p1-v1-000000", "/versions/old/link"])
def test_an_old_link_gets_a_page_that_leads_to_the_others(client: TestClient, here: str, path: str) -> None:
    answer = client.get(here + path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert f"has no page '{path[1:]}'" in unescape(answer.text)
    assert f'href="{here}"' in answer.text


def test_with_credentials_nobody_sees_a_page_without_them(made: Reviewed, redis: Redis, here: str) -> None:
    settings = made.settings.replace(basic_auth_user="ada", basic_auth_pass="secret")
    client = TestClient(create_app(settings, connection=redis), base_url="http://127.0.0.1:9090")
    assert client.get(here).status_code == 401
    assert client.get("/review/static/review.js").status_code == 401
    assert client.get(here, auth=("ada", "secret")).status_code == 200


def test_a_project_without_a_version_has_pages_too(client: TestClient, review_studio: FakeLabelStudio) -> None:
    project_id = begin_project(review_studio)
    for path in ("", "/versions", "/masks", "/data"):
        assert "yet" in read_page(client, f"/review/{project_id}{path}")
    assert client.get("/review/0").status_code == 400
    assert client.get("/review/77/report/tiny-p77-v1-000000").status_code == 404
