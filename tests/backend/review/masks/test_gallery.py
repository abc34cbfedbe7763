"""Held-out masks on their pages: the gallery in the order asked for, and one mask with its neighbours."""

import re
from html import unescape
from pathlib import Path

from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import Reviewed
from starlette.testclient import TestClient
from support.review_pages import list_keys, read_page

from backend.registry.local import LocalRegistry
from backend.registry.review_file import REVIEW_FILE, read_review


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
        page = read_page(client, f"{here}/masks?sort={sort}&version={made.versions[1]}")
        found = [figure(objects[key]) for key in list_keys(page)]
        assert found == sorted(found)
        assert len(found) == 6
    item = objects[list_keys(page)[0]]
    drawn = item.drawn["box", "candidate"]
    card = unescape(page[page.index(f'id="m-{item.key}"') :].partition("</li>")[0])
    assert f'href="{review_studio.url}/projects/{made.project_id}/data?task={item.task_id}"' in card
    for shown in (f"<td>{drawn.over_px}</td>", f"<td>{drawn.under_px}</td>", f"<td>{drawn.iou:.3f}</td>"):
        assert shown in card
    assert re.search(r'<path class="human" d="M\d', card)
    assert len(list_keys(read_page(client, f"{here}/masks?label=Disc"))) == 3
    assert list_keys(read_page(client, f"{here}/masks?flag=wrong")) == []
    assert list_keys(read_page(client, f"{here}/masks?page=2")) == []
    against = read_page(client, f"{here}/masks?version={made.versions[1]}&against={made.versions[0]}&prompt=point")
    assert len(list_keys(against)) == 6


def test_one_mask_can_be_looked_at_closely_and_leads_to_its_neighbours(
    client: TestClient, here: str, made: Reviewed
) -> None:
    keys = list_keys(read_page(client, f"{here}/masks?sort=worsened"))
    page = read_page(client, f"{here}/masks/{made.versions[1]}/{keys[1]}?sort=worsened")
    assert re.search(rf'rel="prev" href="[^"]*/{keys[0]}\?', page)
    assert re.search(rf'rel="next" href="[^"]*/{keys[2]}\?', page)
    assert 'type="range"' in page
    assert client.get(f"{here}/masks/{made.versions[1]}/0123").status_code == 404


def test_the_filters_stay_on_the_way_from_mask_to_mask(client: TestClient, here: str, made: Reviewed) -> None:
    every = list_keys(read_page(client, f"{here}/masks"))
    keys = list_keys(read_page(client, f"{here}/masks?label=Disc&sort=iou"))
    assert len(keys) == 3 < len(every)
    first = read_page(client, f"{here}/masks/{made.versions[1]}/{keys[0]}?label=Disc&sort=iou")
    assert "mask 1 of 3" in first
    assert re.search(rf'rel="next" href="[^"]*/{keys[1]}\?[^"]*label=Disc', first)
    (other, *_) = set(every) - set(keys)
    beyond = read_page(client, f"{here}/masks/{made.versions[1]}/{other}?label=Disc&sort=iou")
    assert "of 6" in beyond, "a mask that passes no filter stands among all"


def test_the_prompt_is_drawn_on_every_mask_and_the_terms_are_explained(
    client: TestClient, here: str, made: Reviewed
) -> None:
    boxes, clicks = (read_page(client, f"{here}/masks?prompt={prompt}") for prompt in ("box", "point"))
    assert boxes.count('<rect class="prompt"') == 6
    assert clicks.count('<path class="prompt click"') == 6
    assert "the same within a thin band along the edge" in unescape(boxes).lower()
    large = read_page(client, f"{here}/masks/{made.versions[1]}/{list_keys(boxes)[0]}?prompt=point")
    assert large.count('<path class="prompt click"') >= 2, "on either side of the slider"
    assert '<abbr title="How much the mask' in large


def test_a_mask_shows_its_object_in_every_version_that_was_measured_on_it(
    client: TestClient, here: str, made: Reviewed
) -> None:
    key = list_keys(read_page(client, f"{here}/masks"))[0]
    page = read_page(client, f"{here}/masks/{made.versions[1]}/{key}?prompt=point")
    rows = page.partition("This object in every version")[2]
    assert [row in rows for row in (made.base, made.versions[0].partition("-p1-")[2])] == [True, True]
    assert f'href="{here}/masks/{made.versions[0]}/{key}?prompt=point"' in rows
    item = next(item for item in read_review(_folder(made, made.versions[0])) if item.key == key)
    assert f"<td>{item.drawn['point', 'candidate'].boundary_iou:.3f}</td>" in rows


def _folder(made: Reviewed, version: str) -> Path:
    return LocalRegistry(made.settings.registry.model_dir).materialise(version)
