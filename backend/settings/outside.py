"""Settings for everything around the model: Label Studio, addresses, credentials, the registry, the queue."""

from pathlib import Path
from typing import Annotated

from backend.settings.bounds import Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import (
    flag,
    folder,
    folder_or_store,
    http_url,
    integer,
    number,
    one_of,
    redis_address,
    xdg_folder,
)


class LabelStudioSettings(SettingsGroup):
    """Label Studio's addresses, and the API key."""

    url: Annotated[str | None, http_url()] = setting(
        "LABEL_STUDIO_URL",
        "address of Label Studio; absent: the address in Label Studio's `/setup` request",
        default=None,
    )
    api_key: str | None = setting(
        "LABEL_STUDIO_API_KEY",
        "API key: a legacy token or a personal access token; sent only to LABEL_STUDIO_URL",
        default=None,
        secret=True,
    )
    reconcile_seconds: Annotated[float, number(Bounds(0, 86400))] = setting(
        "SAMLOOP_RECONCILE_SECONDS",
        "how often to look in Label Studio for annotations that no webhook reported, seconds; 0: never",
        default=300.0,
    )
    public_url: Annotated[str | None, http_url()] = setting(
        "SAMLOOP_LABEL_STUDIO_PUBLIC_URL",
        "address of Label Studio for browsers, used in links; absent: LABEL_STUDIO_URL",
        default=None,
    )


class BackendSettings(SettingsGroup):
    """The backend's own addresses, its credentials and its log."""

    url: Annotated[str, http_url()] = setting(
        "SAMLOOP_BACKEND_URL", "address of the backend for Label Studio", default="http://127.0.0.1:9090"
    )
    public_url: Annotated[str | None, http_url()] = setting(
        "SAMLOOP_PUBLIC_URL",
        "address of the backend for browsers, used in links to the review pages; absent: SAMLOOP_BACKEND_URL",
        default=None,
    )
    basic_auth_user: str | None = setting(
        "BASIC_AUTH_USER", "user name that every caller must send; absent: no credentials are needed", default=None
    )
    basic_auth_pass: str | None = setting("BASIC_AUTH_PASS", "password of that user", default=None, secret=True)
    insecure: Annotated[bool, flag()] = setting(
        "SAMLOOP_INSECURE", "allow serving other machines without credentials", default=False
    )
    connections: Annotated[int, integer(Bounds(16, 65536))] = setting(
        "SAMLOOP_CONNECTIONS",
        "most open connections; beyond that, a new connection replaces the one that has waited longest for its client",
        default=1000,
    )
    connections_per_address: Annotated[int, integer(Bounds(0, 65536))] = setting(
        "SAMLOOP_CONNECTIONS_PER_ADDRESS",
        "most open connections from one address; 0: no such limit; leave it at 0 behind a proxy, from whose address "
        "all connections come",
        default=0,
    )
    log_level: Annotated[str, one_of("debug", "info", "warning", "error")] = setting(
        "SAMLOOP_LOG_LEVEL", "lowest severity that is logged", default="info"
    )
    log_format: Annotated[str, one_of("text", "json")] = setting(
        "SAMLOOP_LOG_FORMAT", "format of the log: `text`, or `json` with one object per line", default="text"
    )


class RegistrySettings(SettingsGroup):
    """The registry of checkpoints."""

    model_dir: Annotated[Path | str, folder_or_store()] = setting(
        "MODEL_DIR",
        "registry of checkpoints, decisions and flags: a folder, or for several machines `s3://bucket/prefix`, "
        "`gs://bucket/prefix` or `az://container/prefix`",
        default=lambda: xdg_folder("XDG_DATA_HOME", ".local/share") / "models",
        shown="~/.local/share/samloop/models",
    )
    copies_mib: Annotated[int, integer(Bounds(256, 1 << 24))] = setting(
        "SAMLOOP_COPIES_MIB",
        "most disk space in SAMLOOP_CACHE_DIR for copies of checkpoints from an object store, MiB (16 to 30 per "
        "version)",
        default=4096,
    )
    poll_seconds: Annotated[float, number(Bounds(0.05, 60))] = setting(
        "SAMLOOP_POLL_SECONDS", "how often to look for new decisions in the registry, seconds", default=1.0
    )


class QueueSettings(SettingsGroup):
    """The queue of jobs."""

    redis_url: Annotated[str | None, redis_address()] = setting(
        "REDIS_URL", "address of the queue's Redis; absent: the embedded Valkey", default=None, secret=True
    )
    dir: Annotated[Path, folder()] = setting(
        "SAMLOOP_QUEUE_DIR",
        "folder of the embedded Valkey's data",
        default=lambda: xdg_folder("XDG_DATA_HOME", ".local/share") / "queue",
        shown="~/.local/share/samloop/queue",
    )
    job_seconds: Annotated[int, integer(Bounds(60, 604800))] = setting(
        "SAMLOOP_JOB_SECONDS",
        "longest time for a whole training job, including encoding and measuring, seconds",
        default=86400,
    )
