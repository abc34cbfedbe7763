"""The parts around the backend: Label Studio, the addresses, the registry and the queue."""

from pathlib import Path
from typing import Annotated

from backend.settings.bounds import Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import flag, folder, http_url, integer, number, one_of, redis_address, xdg_folder


class LabelStudioSettings(SettingsGroup):
    """Where Label Studio answers, and as whom we ask it."""

    url: Annotated[str | None, http_url()] = setting(
        "LABEL_STUDIO_URL", "address of Label Studio; absent: the address that `/setup` names", default=None
    )
    api_key: str | None = setting(
        "LABEL_STUDIO_API_KEY",
        "legacy token or personal access token; sent to LABEL_STUDIO_URL alone",
        default=None,
        secret=True,
    )
    public_url: Annotated[str | None, http_url()] = setting(
        "SAMLOOP_LABEL_STUDIO_PUBLIC_URL",
        "where browsers reach Label Studio, for links into it; absent: LABEL_STUDIO_URL",
        default=None,
    )


class BackendSettings(SettingsGroup):
    """The backend's own addresses, its credentials and its log."""

    url: Annotated[str, http_url()] = setting(
        "SAMLOOP_BACKEND_URL", "where Label Studio reaches the backend", default="http://127.0.0.1:9090"
    )
    public_url: Annotated[str | None, http_url()] = setting(
        "SAMLOOP_PUBLIC_URL",
        "where browsers reach the backend, for links to the review pages; absent: SAMLOOP_BACKEND_URL",
        default=None,
    )
    basic_auth_user: str | None = setting("BASIC_AUTH_USER", "user name that every caller must send", default=None)
    basic_auth_pass: str | None = setting("BASIC_AUTH_PASS", "password of that user", default=None, secret=True)
    insecure: Annotated[bool, flag()] = setting(
        "SAMLOOP_INSECURE", "serve addresses beyond loopback without credentials", default=False
    )
    connections: Annotated[int, integer(Bounds(16, 65536))] = setting(
        "SAMLOOP_CONNECTIONS", "most connections that stand open at once", default=1000
    )
    connections_per_address: Annotated[int, integer(Bounds(0, 65536))] = setting(
        "SAMLOOP_CONNECTIONS_PER_ADDRESS",
        "most of them from one address; 0: no limit of its own, as behind a proxy, where all come from its address",
        default=0,
    )
    log_level: Annotated[str, one_of("debug", "info", "warning", "error")] = setting(
        "SAMLOOP_LOG_LEVEL", "how much is logged", default="info"
    )
    log_format: Annotated[str, one_of("text", "json")] = setting(
        "SAMLOOP_LOG_FORMAT", "`text`, or one JSON object a line (`json`)", default="text"
    )


class RegistrySettings(SettingsGroup):
    """Where checkpoints are published."""

    model_dir: Annotated[Path, folder()] = setting(
        "MODEL_DIR",
        "registry of checkpoints",
        default=lambda: xdg_folder("XDG_DATA_HOME", ".local/share") / "models",
        shown="~/.local/share/samloop/models",
    )
    poll_seconds: Annotated[float, number(Bounds(0.05, 60))] = setting(
        "SAMLOOP_POLL_SECONDS", "seconds between two looks at the registry", default=1.0
    )


class QueueSettings(SettingsGroup):
    """Where jobs wait, and how long they may run."""

    redis_url: Annotated[str | None, redis_address()] = setting(
        "REDIS_URL", "address of the queue; absent: the embedded Valkey", default=None, secret=True
    )
    dir: Annotated[Path, folder()] = setting(
        "SAMLOOP_QUEUE_DIR",
        "data of the embedded Valkey",
        default=lambda: xdg_folder("XDG_DATA_HOME", ".local/share") / "queue",
        shown="~/.local/share/samloop/queue",
    )
    job_seconds: Annotated[int, integer(Bounds(60, 604800))] = setting(
        "SAMLOOP_JOB_SECONDS", "longest time that a training job may run, seconds", default=86400
    )
