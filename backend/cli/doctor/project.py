"""A Label Studio project under the doctor's eyes: what keeps clicks or trainings from working, and the mend."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from backend.amounts import write_amount
from backend.errors import BadInput, NotFound, SamloopError, Unavailable
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.choice import label_on, output_control
from backend.labelstudio.label_config import Control, LabelConfig, parse_label_config
from backend.labelstudio.payloads import Project
from backend.labelstudio.task_data import image_at
from backend.settings import Settings

Check = tuple[str, Callable[[], str]]
_EVENTS = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"})


class ProjectDoctor:
    """The checks of one project. Label Studio is asked only when a check runs.

    Args:
        client: the Label Studio that holds the project.
        project_id: the project.
        settings: the backend's, whose address and credentials Label Studio should have.
    """

    def __init__(self, client: LabelStudio, project_id: int, *, settings: Settings) -> None:
        self._client, self._project_id, self._settings = client, project_id, settings
        self._url = settings.backend.url.rstrip("/")
        user, password = settings.backend.basic_auth_user, settings.backend.basic_auth_pass
        self._credentials = (user, password) if user and password else None
        self._connect = f"`samloop connect --project {project_id}`"

    def checks(self) -> Iterator[Check]:
        """Yield every check that can be made: names, and functions that return what is well or raise SamloopError.

        Where the project cannot be read, or its config, the checks that need it are left out: one line tells why.
        """
        try:
            project = self._client.project(self._project_id)
        except SamloopError as fault:
            yield "project", partial(_fail, fault)
            return
        yield "project", lambda: f"{self._project_id} is {project.get('title') or 'without a title'}"
        yield "backend", self.check_backend
        yield "webhook", self.check_webhook
        try:
            config = self._read_config(project)
        except BadInput as fault:
            yield "config", partial(_fail, fault)
            return
        yield from self._config_checks(config)
        yield "images", lambda: self.check_images(project, config)

    def find_config_faults(self, project: Project) -> list[SamloopError]:
        """Return what keeps people from clicking in the project's labelling interface; nothing if all is well."""
        try:
            config = self._read_config(project)
        except BadInput as fault:
            return [fault]
        faults = []
        for _, check in self._config_checks(config):
            try:
                check()
            except SamloopError as fault:
                faults.append(fault)
        return faults

    def _read_config(self, project: Project) -> LabelConfig:
        try:
            return parse_label_config(str(project["label_config"]))
        except BadInput as fault:
            step = f"change it under {self._client.public_url}/projects/{self._project_id}/settings/labeling"
            raise BadInput(f"{fault}; {step}") from fault

    def _config_checks(self, config: LabelConfig) -> Iterator[Check]:
        yield "masks", lambda: self.check_masks(config)
        yield "smart tools", lambda: self.check_smart_tools(config)
        if any(map(_list_masks, (config, *config.others))):
            yield "labels", lambda: self.check_labels(config)

    def check_backend(self) -> str:
        """Whether the backend is registered once, interactive, with its credentials, and reached by Label Studio."""
        rows = self._client.backends.all(self._project_id)
        ours = [row for row in rows if str(row["url"]).rstrip("/") == self._url]
        if not rows:
            raise NotFound(f"project {self._project_id} has no ML backend: {self._connect} registers this one")
        if not ours:
            others = ", ".join(str(row["url"]) for row in rows)
            raise NotFound(
                f"project {self._project_id} asks {others}, not {self._url}: where that is this backend, set "
                f"SAMLOOP_BACKEND_URL to it; else {self._connect} registers this one"
            )
        if len(ours) > 1:
            raise BadInput(
                f"{self._url} is registered {len(ours)} times, and Label Studio asks every one: "
                f"{self._connect} leaves one"
            )
        (backend,) = ours
        if not backend.get("is_interactive"):
            raise BadInput(
                f"{self._url} is registered, but not for interactive pre-annotations, so that clicks ask nobody: "
                f"{self._connect} switches them on"
            )
        if self._credentials and backend.get("auth_method") != "BASIC_AUTH":
            raise BadInput(
                f"this backend asks for BASIC_AUTH_USER, and project {self._project_id} sends no credentials: "
                f"{self._connect} registers them"
            )
        if self._credentials and backend.get("basic_auth_user") not in {None, self._credentials[0]}:
            raise BadInput(f"Label Studio sends credentials of another user: {self._connect} registers yours")
        self._check_reached(backend.get("state"), str(backend.get("error_message") or ""))
        return f"{self._url} is registered, interactive, and Label Studio reaches it"

    def _check_reached(self, state: object, message: str) -> None:
        if state in {"ER", "DI"}:
            why = f" ({message.strip().splitlines()[-1][:200]})" if message.strip() else ""
            raise Unavailable(
                f"Label Studio does not reach {self._url}{why}: start `samloop up`; where Label Studio runs in a "
                "container or elsewhere, `samloop up --host 0.0.0.0` with BASIC_AUTH_USER and BASIC_AUTH_PASS; "
                f"set SAMLOOP_BACKEND_URL to an address that it reaches, and repeat {self._connect}"
            )

    def check_webhook(self) -> str:
        """Whether Label Studio tells the backend of annotations, with its credentials."""
        url = f"{self._url}/webhook"
        hooks = [hook for hook in self._client.backends.webhooks(self._project_id) if hook["url"] == url]
        if not hooks:
            raise NotFound(
                f"no webhook of project {self._project_id} leads to {url}, so that Start Training and annotations go "
                f"unheard: {self._connect} makes one"
            )
        (hook, *doubles) = hooks
        if doubles:
            raise BadInput(f"{len(hooks)} webhooks lead to {url}, and every one counts: {self._connect} leaves one")
        if not hook.get("is_active", True):
            raise BadInput(f"the webhook to {url} is switched off: {self._connect} switches it on")
        heard = frozenset(hook.get("actions") or ())
        if not hook.get("send_payload", True) or not (hook.get("send_for_all_actions", True) or heard >= _EVENTS):
            raise BadInput(
                f"the webhook to {url} does not send all annotations, or no payload: {self._connect} mends it"
            )
        if self._credentials:
            expected = "Basic " + base64.b64encode(":".join(self._credentials).encode()).decode()
            if dict(hook.get("headers") or {}).get("Authorization") != expected:
                raise BadInput(
                    f"the webhook to {url} lacks the credentials of BASIC_AUTH_USER, or has old ones, so that every "
                    "call "
                    f"is refused: {self._connect} sets them"
                )
        return f"Label Studio tells {url} of every annotation"

    def check_masks(self, config: LabelConfig) -> str:
        """Whether a control can hold a mask, and whether every image that people click on has a control for answers.

        Beside an image with masks, there may be images for boxes alone.
        """
        images = (config, *config.others)
        masks = [control.from_name for image in images for control in _list_masks(image)]
        lacking = [image for image in images if not masks or (_list_tools(image) and not _takes_answers(image))]
        if lacking:
            held = ", ".join(map(_describe_control, lacking[0].controls)) or "no control at all"
            which = f" {lacking[0].image_name!r}" if len(images) > 1 else ""
            raise BadInput(
                f'no control on the image{which} can hold a mask ({held}): add for example <BrushLabels name="mask" '
                f'toName="{lacking[0].image_name}"><Label value="Object"/></BrushLabels>, or <PolygonLabels>'
            )
        return f"masks go to {', '.join(masks)}"

    def check_smart_tools(self, config: LabelConfig) -> str:
        """Whether the editor has a smart tool that points at objects, on every image that has masks."""
        images = (config, *config.others)
        chosen = [image for image in images if _list_masks(image)] or [config]
        tools = [control.from_name for image in chosen for control in _list_tools(image)]
        strokes = [control.from_name for image in chosen for control in image.controls if _is_smart_stroke(control)]
        for image in chosen:
            which = f" on the image {image.image_name!r}" if len(images) > 1 else ""
            step = (
                f'<KeyPointLabels name="point" toName="{image.image_name}" smart="true"> with the labels of the masks'
            )
            if not _list_tools(image) and not any(map(_is_smart_stroke, image.controls)):
                raise BadInput(
                    f"no control lets people point at objects{which}, so that clicks ask nobody: add for example {step}"
                )
        if tools:
            return f"people point with {', '.join(tools)}, once Auto-Annotation is on"
        return f"people point by strokes of {', '.join(strokes)}, once Auto-Annotation is on; clicks need {step}"

    def check_labels(self, config: LabelConfig) -> str:
        """Whether masks carry a label, and the prompts of every smart tool become masks with their own label."""
        images = (config, *config.others)
        bare = next((control for image in images for control in _list_masks(image) if _lacks_labels(control)), None)
        if bare is not None:
            raise BadInput(
                f'<{bare.kind} name="{bare.from_name}"> has no label, and the editor shows no region without one: add '
                f'<Label value="Object"/> to it, or make it a <{bare.shape.name}>'
            )
        lost = [
            f'<{tool.kind} name="{tool.from_name}"> offers the label {label!r}, {result}: {mend}'
            for image in images
            if _takes_answers(image)
            for tool in _list_tools(image)
            for label in tool.labels
            for result, mend in _find_loss(image, tool, label=label)
        ]
        if lost:
            more = f"; and {write_amount(len(lost) - 1, 'more such label')}" if len(lost) > 1 else ""
            step = f"{self._client.public_url}/projects/{self._project_id}/settings/labeling"
            raise BadInput(f"{lost[0]} ({step}){more}")
        return "every label of the smart tools has a mask"

    def check_images(self, project: Project, config: LabelConfig) -> str:
        """Whether the first task's image can be read from here."""
        task = next(islice(self._client.tasks(int(project["id"]), page_size=1), 1), None)
        if task is None:
            raise NotFound(f"project {self._project_id} has no task: import images into it")
        keys = [image.image_key for image in config.images(task.get("data"))]
        uri = next((uri for key in keys if (uri := image_at(task.get("data"), key)) is not None), None)
        if uri is None:
            raise BadInput(
                f"task {task['id']} has no image in data[{keys[0][:80]!r}], where the labelling config reads it: "
                "name the key of your data in the config's <Image value=...>"
            )
        source = ImageSource(settings=self._settings, label_studio=self._client)
        return f"task {task['id']}'s image is read, {len(source.fetch(uri, task_id=task['id']))} bytes"


def _list_masks(config: LabelConfig) -> list[Control]:
    """The image's controls that can hold a mask."""
    return [control for control in config.controls if control.shape.is_mask and not control.is_skipped]


def _list_tools(config: LabelConfig) -> list[Control]:
    """The image's controls whose smart tools point at objects by clicks or boxes."""
    return [control for control in config.controls if control.is_smart and control.shape.point is not None]


def _lacks_labels(control: Control) -> bool:
    """Whether a control that labels its regions has no label, neither its own nor one of the tasks' data."""
    return control.has_labels and not control.labels and not control.takes_any_label


def _is_smart_stroke(control: Control) -> bool:
    return control.is_smart and control.shape.is_stroke


def _takes_answers(config: LabelConfig) -> bool:
    """Whether a control on the image gets what a click finds, be it a mask or a box."""
    return any(control.shape.write is not None and not control.is_skipped for control in config.controls)


def _describe_control(control: Control) -> str:
    return f"<{control.kind}> with model_skip" if control.is_skipped else f"<{control.kind}>"


def _find_loss(config: LabelConfig, tool: Control, *, label: str) -> Iterator[tuple[str, str]]:
    """Yield what a prompt with this label becomes instead of a mask with it, and the mend; nothing if all is well."""
    target = output_control(config, label=label, drawn_with=tool.from_name)
    if target.shape.is_mask and (not target.labels or target.label_for(label) is not None):
        return
    mask = min(_list_masks(config), key=lambda control: control.shape.detail_rank, default=None)
    if mask is None:
        return
    becomes = "comes as no mask" if not target.shape.is_mask else f"comes as {label_on(target, label)!r}"
    yield (
        f"which no control with masks has, so that its object {becomes}",
        f'add <Label value="{label}"/> to <{mask.kind} name="{mask.from_name}">, or take it from the smart tool',
    )


def _fail(fault: SamloopError) -> str:
    raise fault
