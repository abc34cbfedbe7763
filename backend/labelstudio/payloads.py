"""Names for Label Studio's JSON objects, which may hold anything that their writers put in.

Other rooms pass them on, and read their values only through this room.
"""

from collections.abc import Mapping
from typing import Any

Task = Mapping[str, Any]  # `id`, `data`, and where Label Studio sends them `annotations`, `drafts`, `predictions`
Context = Mapping[str, Any]  # an interactive request's `params.context`, whose regions are prompts
Project = Mapping[str, Any]  # `id`, `title`, `label_config`
Annotation = Mapping[str, Any]  # what one person submitted: `id`, `result`
StoredPrediction = Mapping[str, Any]  # a prediction as the API returns it
LabelStudioJson = dict[str, Any]  # any other object of its API, of its webhooks or of the ML protocol
Region = dict[str, Any]  # an item of a `result`
Prediction = dict[str, Any]  # `result`, `score`, `model_version`
