"""Names for Label Studio's JSON objects, which hold whatever their writers put in.

Other rooms pass them on and read their own values from them through this room.
"""

from collections.abc import Mapping
from typing import Any

Task = Mapping[str, Any]  # `id`, `data`, and where Label Studio sends them `annotations`, `drafts`, `predictions`
Context = Mapping[str, Any]  # an interactive request's `params.context`: what the annotator points at
Region = dict[str, Any]  # an item of a `result`
Prediction = dict[str, Any]  # `result`, `score`, `model_version`
