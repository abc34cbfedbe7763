"""The page of images shows what a version learnt from and was measured on, and leads to the whole images."""

import io
import re
from html import unescape

from fakes.reviewed import HOSTILE, Reviewed
from PIL import Image
from starlette.testclient import TestClient
from support.review_pages import read_page


def test_every_image_of_a_training_is_a_card_that_leads_to_its_whole_image(
    client: TestClient, here: str, made: Reviewed
) -> None:
    page = read_page(client, f"{here}/images?version={made.versions[1]}")
    cards = page.split('<li class="card">')[1:]
    assert len(cards) == 3, "three annotated images; the skipped one is none"
    assert all(card.count('class="human"') == 1 and "held out, then learnt from" in card for card in cards)
    assert all(f"1 Disc, 1 {HOSTILE}" in unescape(card) for card in cards)
    assert "<script>alert" not in page
    (picture,) = re.findall(r'<img src="([^"]+)"', cards[0])
    answer = client.get(picture)
    assert (answer.headers["content-type"], Image.open(io.BytesIO(answer.content)).size) == ("image/webp", (64, 48))
    (whole,) = re.findall(r'class="look" href="([^"]+)"', cards[0])
    assert "learnt from it" in read_page(client, unescape(whole))


def test_images_are_chosen_by_side_and_label_and_odd_choices_are_refused(
    client: TestClient, here: str, made: Reviewed
) -> None:
    assert read_page(client, f"{here}/images?side=held-out&label=Disc").count('<li class="card">') == 3
    assert "No image matches this choice" in read_page(client, f"{here}/images?label=Ring")
    assert read_page(client, f"{here}/images?page=2").count('<li class="card">') == 0
    assert client.get(f"{here}/images?side=left").status_code == 400
    assert client.get(f"{here}/images?version=none-of-ours").status_code == 404
    assert client.get(f"{here}/crops/{made.versions[1]}/images/{'f' * 64}").status_code == 404


def test_a_project_without_a_version_has_no_images_yet(client: TestClient) -> None:
    assert "There is no version yet" in read_page(client, "/review/77/images")
