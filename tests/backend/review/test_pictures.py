"""Images of masks: their size, their cache, and the threads that they take."""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest
from fakes.reviewed import Reviewed
from PIL import Image
from starlette.testclient import TestClient
from support.review_pages import list_keys, read_page

from backend.registry.local import LocalRegistry
from backend.registry.review_file import read_review
from backend.review.masks.crops import Crops


def test_a_picture_is_sent_at_the_size_it_is_shown_and_only_once_in_sight(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = read_page(client, f"{here}/masks")
    assert page.count("<img ") == page.count('loading="lazy"') == 6
    folder = LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1])
    item = next(entry for entry in read_review(folder) if entry.key == list_keys(page)[0])
    crop = client.get(f"{here}/crops/{made.versions[1]}/{item.key}/160")
    assert crop.headers["content-type"] == "image/webp"
    assert "immutable" in crop.headers["cache-control"]
    assert Image.open(io.BytesIO(crop.content)).size == (item.window[3], item.window[2])
    assert client.get(f"{here}/crops/{made.versions[1]}/{item.key}/161").status_code == 404
    assert client.get(f"{here}/crops/{made.versions[1]}/{item.key}/edge").headers["content-type"] == "image/webp"


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
    key = list_keys(read_page(client, f"{here}/masks"))[0]
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


def test_a_mask_can_be_downloaded_as_one_picture(client: TestClient, here: str, made: Reviewed) -> None:
    key = list_keys(read_page(client, f"{here}/masks"))[0]
    page = read_page(client, f"{here}/masks/{made.versions[1]}/{key}?prompt=point")
    address = re.search(rf'href="({here}/crops/[^"]*/drawn[^"]*)" download', page)
    assert address is not None
    answer = client.get(unescape(address[1]))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith('attachment; filename="samloop-v2-')
    assert Image.open(io.BytesIO(answer.content)).width >= 600
    assert client.get(f"{here}/crops/{made.versions[1]}/0123/drawn").status_code == 404
    assert client.get(f"{here}/crops/{made.versions[1]}/{key}/drawn?prompt=scribble").status_code == 400
