"""Asks whether this container does its work: `python health.py live`, `ready` or `worker`.

`live`: the server answers. `ready`: and its base model is loaded, so that it can answer clicks. `worker`: the worker
has told Redis in the last 90 s that it lives. Exits with 0, or prints the reason and exits with 1.
"""

import base64
import json
import os
import socket
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

_ANSWER_S = 5
_SILENT_S = 90  # a worker's record in Redis may be this old; rq renews it every 15 s or so


def check_live() -> str | None:
    """Return why the server on this machine does not answer, or None."""
    return _ask()[1]


def check_ready() -> str | None:
    """Return why the server on this machine cannot answer clicks, or None."""
    health, fault = _ask()
    if fault is None and health["model"] != "ready":
        return f"the base model is not loaded: {health['model']}, {health.get('error')}"
    return fault


def _ask() -> tuple[dict[str, str], str | None]:
    """What /health answers, and why it does not."""
    port = os.environ.get("SAMLOOP_PORT", "9090")
    credentials = f"{os.environ.get('BASIC_AUTH_USER', '')}:{os.environ.get('BASIC_AUTH_PASS', '')}"
    headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
    connection = HTTPConnection("127.0.0.1", int(port), timeout=_ANSWER_S)
    try:
        connection.request("GET", "/health", headers=headers)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            return {}, f"/health on port {port} answers {response.status}: are BASIC_AUTH_USER and BASIC_AUTH_PASS set?"
        return json.load(response), None
    except (OSError, HTTPException, ValueError) as fault:
        return {}, f"/health on port {port} does not answer: {fault}"
    finally:
        connection.close()


def check_worker() -> str | None:
    """Return what is wrong with the worker on this machine, or None."""
    from redis import Redis
    from redis.exceptions import RedisError

    host = socket.gethostname()
    try:
        redis = Redis.from_url(os.environ["REDIS_URL"], socket_connect_timeout=_ANSWER_S, socket_timeout=_ANSWER_S)
        records = [redis.hgetall(key) for key in redis.smembers("rq:workers")]
    except KeyError:
        return "REDIS_URL is not set"
    except (RedisError, OSError):
        # A worker waits for Redis to come back. A restart would gain nothing and lose a training's last steps.
        return None
    spoken = [record[b"last_heartbeat"].decode() for record in records if record.get(b"hostname") == host.encode()]
    if not spoken:
        return f"no worker of {host} is known to Redis"
    silent_s = min((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds() for stamp in spoken)
    return None if silent_s < _SILENT_S else f"the worker of {host} has been silent for {silent_s:.0f} s"


if __name__ == "__main__":
    checks = {"live": check_live, "ready": check_ready, "worker": check_worker}
    if sys.argv[1:] not in [[name] for name in checks]:
        sys.exit(f"usage: health.py {'|'.join(checks)}, not {' '.join(sys.argv[1:]) or 'nothing'}")
    sys.exit(checks[sys.argv[1]]())
