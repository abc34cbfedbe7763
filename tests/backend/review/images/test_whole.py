"""A task's whole image: what people drew, what was predicted, what a version draws, and whether it learnt from it."""

import io
import re
from html import unescape

from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from fakes.reviewed import CONFIG, Reviewed
from fakes.studio_setup import StudioSetup
from PIL import Image
from starlette.testclient import TestClient
from support.pictures import encode_image
from support.review_objects import draw_square
from support.review_pages import read_page

from backend.labelstudio.label_config import Control
from backend.labelstudio.task_data import ImagePlace
from backend.registry.local import LocalRegistry
from backend.registry.review_file import read_review
from backend.review.images.whole import _choose, _Shown

TWO_IMAGES = """<View><Image name="before" value="$before"/><Image name="after" value="$after"/>
<BrushLabels name="on-before" toName="before"><Label value="Disc"/></BrushLabels>
<BrushLabels name="on-after" toName="after"><Label value="Disc"/></BrushLabels></View>"""
CONTROL = Control(kind="brushlabels", from_name="tag", to_name="image", labels=("Disc",))


def test_a_held_out_image_shows_its_annotation_and_the_versions_masks(
    client: TestClient, here: str, made: Reviewed
) -> None:
    items = read_review(LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[1]))
    task_id = items[0].task_id
    page = unescape(read_page(client, f"{here}/tasks/{task_id}?version={made.versions[1]}"))
    short = made.versions[1].partition("-p1-")[2]
    of_image = sum(item.task_id == task_id for item in items)
    assert f"{short} from boxes, held out: {of_image} regions" in page
    assert "annotation " in page
    assert page.count('<g class="layer-') == 3
    assert "Held out from" in page
    picture = Image.open(io.BytesIO(client.get(f"{here}/tasks/{task_id}/image").content))
    assert (picture.format, picture.size) == ("WEBP", (64, 48))
    key = next(item.key for item in items if item.task_id == task_id)
    closer = read_page(client, f"{here}/masks/{made.versions[1]}/{key}")
    digest = items[0].image_sha256
    assert f'href="{here}/tasks/{task_id}?version={made.versions[1]}&sha256={digest}">Whole image</a>' in unescape(
        closer
    )


def test_any_task_shows_its_stored_predictions_whether_a_version_knows_it_or_not(
    client: TestClient, made: Reviewed, review_studio: FakeLabelStudio
) -> None:
    studio = StudioSetup(review_studio.url, review_studio.token)
    project_id = int(studio.create_project("of its own", CONFIG)["id"])
    mask = draw_square(5, 5, 40)
    address = review_studio._upload(project_id, "new.png", encode_image(mask.astype("uint8") * 200))
    studio.import_tasks(project_id, [{"data": {"image": address}}])
    (task_id,) = (int(task["id"]) for task in studio.tasks(project_id))
    studio.create_annotation(task_id, [], was_cancelled=True)
    region = brush_region(mask, control=CONTROL, label="Disc", score=0.9, model_version="automatic")
    studio.create_prediction(task_id, result=[region], model_version="tiny-auto", score=0.9)
    page = unescape(read_page(client, f"/review/{project_id}/tasks/{task_id}"))
    assert "prediction of tiny-auto: 1 region<" in page
    assert re.findall(r'id="show-layer-(\d)" checked', page) == ["1"], "what draws nothing leaves room for what draws"
    assert 'viewBox="0 0 400 300"' in page
    assert "No version has learnt from it" in page
    assert client.get(f"/review/{made.project_id}/tasks/{task_id}").status_code == 404, "a task of another project"


def test_every_image_of_a_task_is_shown_with_what_was_drawn_on_it(
    client: TestClient, review_studio: FakeLabelStudio
) -> None:
    studio = StudioSetup(review_studio.url, review_studio.token)
    project_id = int(studio.create_project("before and after", TWO_IMAGES)["id"])
    squares = {"before": draw_square(5, 5, 40), "after": draw_square(50, 60, 20)}
    data = {
        name: review_studio._upload(project_id, f"{name}.png", encode_image(mask.astype("uint8") * 200))
        for name, mask in squares.items()
    }
    studio.import_tasks(project_id, [{"data": data}])
    (task_id,) = (int(task["id"]) for task in studio.tasks(project_id))
    control = Control(kind="brushlabels", from_name="on-after", to_name="after", labels=("Disc",))
    region = brush_region(squares["after"], control=control, label="Disc", score=0.9, model_version="by-hand")
    studio.create_annotation(task_id, [region])
    first = unescape(read_page(client, f"/review/{project_id}/tasks/{task_id}"))
    second = unescape(read_page(client, f"/review/{project_id}/tasks/{task_id}?image=2"))
    assert "image 1 of 2" in first
    assert re.search(r"annotation \d+: 0 regions", first)
    assert "image 2 of 2" in second
    assert re.search(r"annotation \d+: 1 region<", second)
    assert f'href="/review/{project_id}/tasks/{task_id}?image=2" aria-current="page">after</a>' in second
    (shown,) = re.findall(r'<img draggable="false" src="([^"]+)"', second)
    pixels = Image.open(io.BytesIO(client.get(shown).content)).convert("L")
    assert pixels.getpixel((70, 60)) > 150
    assert pixels.getpixel((10, 10)) < 50
    missing = client.get(f"/review/{project_id}/tasks/{task_id}?image=3")
    assert (missing.status_code, "has no image 3: it shows 2" in missing.text) == (404, True)


def test_the_image_that_a_training_knew_is_opened_of_several() -> None:
    """A version knows the image's address without its secrets."""
    places = [
        _Shown(place=ImagePlace(name=name, key=name), address=f"https://bucket/{name}.png?signature={name}")
        for name in ("before", "after")
    ]
    chosen = _choose(places, number=None, address="https://bucket/after.png?signature=***", task_id=7)
    assert chosen.place.name == "after"
    assert _choose(places, number=None, address=None, task_id=7).place.name == "before"


def test_a_task_is_found_by_its_number_and_an_unknown_one_is_said_to_be_none(client: TestClient, here: str) -> None:
    answer = client.get(f"{here}/tasks?task=+2", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{here}/tasks/2")
    assert client.get(f"{here}/tasks?task=two").status_code == 400
    unknown = client.get(f"{here}/tasks/98765")
    assert (unknown.status_code, "Label Studio has no task 98765" in unknown.text) == (404, True)
