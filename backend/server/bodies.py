"""The bodies of requests."""

from pydantic import BaseModel, ConfigDict, Field

from backend.labelstudio.payloads import LabelStudioJson

MAX_TASKS = 10_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class SetupBody(_Body):
    """Label Studio's request when somebody connects, views or changes a backend."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"project": "7.1795418479", "schema": "<View>...</View>"}]},
    )

    project: str | int
    label_schema: str | None = Field(default=None, alias="schema")
    hostname: str | None = None
    access_token: str | None = None


class PredictParams(_Body):
    """`context` holds the prompts of an interactive request; it is null in a batch.

    `why`: whether every empty answer of a batch says why (samloop's own refresh asks for it).
    """

    context: LabelStudioJson | None = None
    why: bool = False


class PredictBody(_Body):
    """Tasks of one project; an interactive request has one task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tasks": [{"id": 12, "data": {"image": "/data/upload/7/coins.png"}}],
                    "project": "7.1795418479",
                    "label_config": (
                        '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
                        '<Label value="Coin"/></BrushLabels><KeyPointLabels name="kp" toName="image" smart="true">'
                        '<Label value="Coin"/></KeyPointLabels></View>'
                    ),
                    "params": {
                        "context": {
                            "result": [
                                {
                                    "type": "keypointlabels",
                                    "from_name": "kp",
                                    "to_name": "image",
                                    "value": {"x": 41.5, "y": 63.0, "width": 0.3, "keypointlabels": ["Coin"]},
                                }
                            ]
                        }
                    },
                }
            ]
        },
    )

    tasks: list[LabelStudioJson] = Field(max_length=MAX_TASKS)
    project: str | int | None = None
    label_config: str | None = None
    params: PredictParams | None = None


class ProjectBody(_Body):
    """A request about one project."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"project": "7"}]})

    project: str | int


class JobBody(_Body):
    """A request about one job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job": "train-7-3"}]})

    job: str = Field(max_length=200)
