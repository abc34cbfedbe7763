"""Mis-set-ups of a project, planted one at a time into one that is well: the doctor finds every one, with its mend."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.server import Answer, FakeServer, Request
from fakes.studio_setup import StudioSetup

from backend.cli.doctor.project import ProjectDoctor
from backend.errors import SamloopError
from backend.settings import Settings

CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Cell"/></KeyPointLabels>
<BrushLabels name="mask" toName="image"><Label value="Cell"/></BrushLabels></View>"""
Row = dict[str, Any]


class Backend(FakeServer):
    """As much of a backend as Label Studio asks before it registers one."""

    def answer(self, request: Request) -> Answer:
        return Answer(200, {"model_version": "mobile-sam"} if request.path == "/setup" else {"status": "UP"})


class Clinic:
    """A project that is well, what can be broken about it, and the doctor."""

    def __init__(self, studio: FakeLabelStudio, backend: Backend) -> None:
        self.studio, self.url = studio, backend.url
        self.client = StudioSetup(studio.url, studio.token)
        self.settings = Settings(backend_url=backend.url, basic_auth_user="sam", basic_auth_pass="loop")
        self.project_id = int(self.client.create_project("Cells", CONFIG)["id"])
        self.client.import_images(self.project_id, {"a.png": b"pixels"})
        self.client.backends.connect(self.project_id, url=self.url, title="samloop", basic_auth=("sam", "loop"))

    def row(self, kind: str) -> Row:
        return next(row for row in self.studio._rows[kind].values() if row.get("project", 0) == self.project_id)

    def change(self, kind: str, **fields: object) -> None:
        (self.studio._rows["project"][self.project_id] if kind == "project" else self.row(kind)).update(fields)

    def remove(self, kind: str) -> None:
        self.studio._rows[kind].clear()

    def double(self, kind: str) -> None:
        row = self.row(kind)
        self.studio._new(kind, {name: value for name, value in row.items() if name != "id"})

    def findings(self) -> dict[str, str]:
        """What is wrong, by the name of the check."""
        wrong = {}
        for name, check in ProjectDoctor(self.client, self.project_id, settings=self.settings).checks():
            try:
                assert check()
            except SamloopError as fault:
                wrong[name] = str(fault)
        return wrong


@pytest.fixture
def clinic() -> Iterator[Clinic]:
    with FakeLabelStudio() as studio, Backend() as backend:
        yield Clinic(studio, backend)


def test_a_project_that_is_well_has_no_finding(clinic: Clinic) -> None:
    assert clinic.findings() == {}


POINT = '<KeyPointLabels name="point2" toName="second"><Label value="Cell"/></KeyPointLabels>'
BOXES = '<RectangleLabels name="box2" toName="second"><Label value="Cell"/></RectangleLabels>'


def add_image(*controls: str, before: bool = False) -> str:
    """CONFIG with a second image and controls on it, after or before its own."""
    tags = '<Image name="second" value="$image"/>' + "".join(controls)
    return CONFIG.replace("<View>", f"<View>{tags}") if before else CONFIG.replace("</View>", f"{tags}</View>")


@pytest.mark.parametrize("before", [False, True])
def test_an_image_for_boxes_alone_beside_an_image_with_masks_is_no_finding(before: bool, clinic: Clinic) -> None:
    clinic.change("project", label_config=add_image(BOXES, before=before))
    assert clinic.findings() == {}


CONNECT = r"`samloop connect --project 1`"
PLANTED: dict[str, tuple[Callable[[Clinic], object], str, str]] = {
    "no backend": (lambda c: c.remove("ml"), "backend", f"has no ML backend: {CONNECT} registers"),
    "a backend elsewhere": (
        lambda c: c.change("ml", url="http://old.example:9090"),
        "backend",
        rf"asks http://old\.example:9090, not .*SAMLOOP_BACKEND_URL to it; else {CONNECT}",
    ),
    "registered twice": (lambda c: c.double("ml"), "backend", f"registered 2 times.*{CONNECT} leaves one"),
    "not interactive": (lambda c: c.change("ml", is_interactive=False), "backend", f"clicks ask nobody: {CONNECT}"),
    "no credentials": (lambda c: c.change("ml", auth_method="NONE"), "backend", f"sends no credentials: {CONNECT}"),
    "another user's": (lambda c: c.change("ml", basic_auth_user="x"), "backend", f"of another user: {CONNECT}"),
    "Label Studio cannot reach us": (
        lambda c: c.change("ml", state="ER", error_message="Traceback\nConnection refused"),
        "backend",
        r"does not reach .* \(Connection refused\): start `samloop up`",
    ),
    "no webhook": (lambda c: c.remove("webhook"), "webhook", f"go unheard: {CONNECT} makes one"),
    "two webhooks": (lambda c: c.double("webhook"), "webhook", f"2 webhooks lead to .*{CONNECT} leaves one"),
    "webhook off": (lambda c: c.change("webhook", is_active=False), "webhook", f"is switched off: {CONNECT}"),
    "webhook without credentials": (
        lambda c: c.change("webhook", headers={}),
        "webhook",
        f"lacks the credentials of BASIC_AUTH_USER.*{CONNECT} sets them",
    ),
    "webhook for some events": (
        lambda c: c.change("webhook", send_for_all_actions=False, actions=["TASKS_CREATED"]),
        "webhook",
        f"does not send all annotations.*{CONNECT} mends it",
    ),
    "webhook without payload": (lambda c: c.change("webhook", send_payload=False), "webhook", "or no payload"),
    "nothing holds a mask": (
        lambda c: c.change("project", label_config=CONFIG.replace("BrushLabels", "RectangleLabels")),
        "masks",
        r"can hold a mask \(<keypointlabels>, <rectanglelabels>\): add for example <BrushLabels",
    ),
    "a brush that models skip": (
        lambda c: c.change("project", label_config=CONFIG.replace('name="mask"', 'name="mask" model_skip="true"')),
        "masks",
        r"can hold a mask \(<keypointlabels>, <brushlabels> with model_skip\): add for example <BrushLabels",
    ),
    "a second image for clicks without masks": (
        lambda c: c.change("project", label_config=add_image(POINT, '<VectorLabels name="line" toName="second"/>')),
        "masks",
        r"on the image 'second' can hold a mask \(<keypointlabels>, <vectorlabels>\): .* toName=\"second\"",
    ),
    "a second image with masks and no tool": (
        lambda c: c.change("project", label_config=add_image('<Polygon name="line" toName="second"/>')),
        "smart tools",
        r"point at objects on the image 'second', .*<KeyPointLabels name=\"point\" toName=\"second\"",
    ),
    "no smart tool": (
        lambda c: c.change(
            "project",
            label_config=CONFIG.replace('smart="true"', 'smart="false"').replace('"mask"', '"mask" smart="false"'),
        ),
        "smart tools",
        r"clicks ask nobody: add for example <KeyPointLabels",
    ),
    "a label without a mask": (
        lambda c: c.change("project", label_config=CONFIG.replace('value="Cell"/></B', 'value="Nucleus"/></B')),
        "labels",
        r"""'Cell', which no control with masks has.* comes as 'Nucleus': add <Label value="Cell"/> to <brushlabels """,
    ),
    "masks without a label": (
        lambda c: c.change("project", label_config=CONFIG.replace('<Label value="Cell"/></B', "</B")),
        "labels",
        r'<brushlabels name="mask"> has no label, .*: add <Label value="Object"/> to it, or make it a <brush>',
    ),
    "a label that only boxes have": (
        lambda c: c.change(
            "project",
            label_config=CONFIG.replace(
                "</View>",
                '<RectangleLabels name="box" toName="image"><Label value="Cell"/><Label value="Clump"/>'
                '<Label value="Debris"/></RectangleLabels></View>',
            ),
        ),
        "labels",
        r"'Clump', which no control with masks has, so that its object comes as no mask: .*; and 1 more such label$",
    ),
    "no image": (
        lambda c: c.change("project", label_config="<View><Text name='t' value='$text'/></View>"),
        "config",
        r"; change it under http.*/projects/1/settings/labeling",
    ),
    "no task": (lambda c: c.remove("task"), "images", "has no task: import images into it"),
    "another key": (
        lambda c: c.change("task", data={"picture": "/data/upload/1/a.png"}),
        "images",
        r"no image in data\['image'\].*name the key of your data in the config's <Image value=",
    ),
    "a file that went": (lambda c: c.studio._uploads.clear(), "images", "/data/upload/"),
    "no such project": (lambda c: setattr(c, "project_id", 99), "project", "has no project 99.*it has 1"),
}


@pytest.mark.parametrize(
    "masks",
    [
        '<Brush name="mask" toName="image"/>',
        '<PolygonLabels name="mask" toName="image"><Label value="cell"/></PolygonLabels>',
        '<BrushLabels name="mask" toName="image" value="$labels"/>',
    ],
    ids=["masks without labels", "the label in other capitals", "labels from the tasks' data"],
)
def test_labels_whose_masks_are_found_are_no_finding(masks: str, clinic: Clinic) -> None:
    start, end = CONFIG.index("<BrushLabels"), CONFIG.index("</View>")
    clinic.change("project", label_config=CONFIG[:start] + masks + CONFIG[end:])
    assert clinic.findings() == {}


def test_strokes_of_a_brush_point_at_objects_where_there_is_no_tool_for_clicks(clinic: Clinic) -> None:
    start, end = CONFIG.index("<KeyPointLabels"), CONFIG.index("<BrushLabels")
    clinic.change("project", label_config=CONFIG[:start] + CONFIG[end:])
    assert clinic.findings() == {}


@pytest.mark.parametrize(
    ("data", "tags"),
    [
        ({"pages": [{"url": "UPLOAD"}]}, {"$image": "$pages[0].url"}),
        ({"pages": ["UPLOAD", "/gone.png"]}, {'value="$image"': 'valueList="$pages"'}),
        ({"pages": ["UPLOAD"]}, {"$image": "$pages"}),
        ({"file": "UPLOAD"}, {"$image": "SITE$file"}),
        (
            {"pages": [{"url": "UPLOAD"}]},
            {
                "<View>": '<View><Repeater on="$pages">',
                "</View>": "</Repeater></View>",
                "$image": "$pages[{{idx}}].url",
            },
        ),
    ],
    ids=["a path", "pages", "a list", "a text around a key", "a repeater"],
)
def test_an_image_is_found_wherever_the_editor_finds_it(data: Row, tags: dict[str, str], clinic: Clinic) -> None:
    upload = str(clinic.row("task")["data"]["image"])
    clinic.change("task", data=json.loads(json.dumps(data).replace("UPLOAD", upload)))
    config = CONFIG
    for tag, other in tags.items():
        config = config.replace(tag, other.replace("SITE", clinic.studio.url))
    clinic.change("project", label_config=config)
    assert clinic.findings() == {}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mis_set_up_is_found_alone_and_with_its_mend(name: str, clinic: Clinic) -> None:
    plant, check, told = PLANTED[name]
    plant(clinic)
    wrong = clinic.findings()
    assert list(wrong) == [check]
    assert re.search(told, wrong[check]), wrong[check]
