"""The backend as this machine reaches it: that it answers, with its model, and with the version of this program."""

from collections.abc import Mapping
from importlib import metadata

import requests

from backend.errors import SamloopError, Unavailable

_LONGEST_S = 5.0


def check_server(url: str, *, project_id: int | None = None) -> str:
    """Return what is well about the server at `url`.

    Raises:
        SamloopError: it does not answer, is another program or another version of this one, or cannot use its model,
            or a version of the project.
    """
    try:
        health = requests.get(f"{url}/health", timeout=_LONGEST_S).json()
    except requests.RequestException as fault:
        raise Unavailable(
            f"nothing answers on {url} ({type(fault).__name__}): start `samloop up`, or set "
            "SAMLOOP_BACKEND_URL to where it runs"
        ) from fault
    if not isinstance(health, Mapping) or health.get("model_class") != "samloop":
        raise SamloopError(f"another program answers on {url}: set SAMLOOP_BACKEND_URL to where samloop runs")
    own, served = metadata.version("samloop"), health.get("version")
    if served != own:
        raise SamloopError(
            f"the server on {url} is samloop {served or 'of an older version'}, and this is {own}: "
            "restart `samloop up`, and "
            "update the older one"
        )
    if health.get("model") == "failed":
        raise SamloopError(f"the server has no model: {health.get('error')}")
    unusable = {**dict(health.get("refused") or {}), **dict(health.get("away") or {})}
    for version, why in unusable.items():
        if project_id is None or f"-p{project_id}-" in f"{version}-":
            raise SamloopError(
                f"{version} is not served: {why}; `samloop rollback --project N` serves what was served before"
            )
    return f"{url} answers, samloop {own}, and its model is {health.get('model')}"
