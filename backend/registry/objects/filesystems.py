"""From MODEL_DIR's address to fsspec's client of that store, whose credentials come from the environment.

s3://bucket/prefix       s3fs    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_PROFILE, roles, ...
gs://bucket/prefix       gcsfs   GOOGLE_APPLICATION_CREDENTIALS, workload identity, ...
az://container/prefix    adlfs   AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT_NAME and _KEY, ...
memory://name            this process alone: for tests
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec

from backend.errors import SettingsError

# One try: whoever asks the store tries again, and knows how long its own caller waits.
_LIMITS = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}}


@dataclass(frozen=True, slots=True)
class _Kind:
    protocol: str
    extra: str | None
    options: Mapping[str, object]


_KINDS: Mapping[str, _Kind] = {
    "s3": _Kind("s3", "s3", {"config_kwargs": _LIMITS}),
    "gs": _Kind("gs", "gcs", {}),
    "az": _Kind("az", "azure", {}),
    "memory": _Kind("memory", None, {}),
}


def open_filesystem(url: str) -> Any:  # noqa: ANN401 - fsspec has no types
    """Fsspec's client for this address, which remembers no listing; nothing is sent yet.

    Raises:
        SettingsError: no such kind of store, or its client is not installed.
    """
    kind = _KINDS.get(url.partition("://")[0])
    if kind is None:
        raise SettingsError(f"MODEL_DIR={url!r} is in no store known here: {', '.join(_KINDS)}")
    try:
        # No shared instance: it would outlive a change of the environment that its credentials come from.
        files = fsspec.filesystem(kind.protocol, skip_instance_cache=True, use_listings_cache=False, **kind.options)
    except ImportError as fault:
        raise SettingsError(
            f"MODEL_DIR={url!r} needs a client that is not installed ({fault}): pip install 'samloop[{kind.extra}]'"
        ) from fault
    files.retries = 1  # of s3fs and gcsfs; as above
    return files
