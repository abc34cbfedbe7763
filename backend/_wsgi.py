"""What `label-studio-ml start backend` runs: `python backend/_wsgi.py [-p PORT] [--host HOST]`.

A WSGI server may run `_wsgi:app` instead, in one process, from the folder backend/. Like `samloop serve`, it needs
REDIS_URL. `samloop serve` is the recommended server: backend/server/label_studio_ml/model.py tells why.
"""

import sys
from pathlib import Path

# Python puts the script's folder first, and there our errors.py and ids.py would hide other packages' modules.
_FOLDER = Path(__file__).resolve().parent
sys.path[:] = [str(_FOLDER.parent), *(entry for entry in sys.path if not entry or Path(entry).resolve() != _FOLDER)]

import argparse  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

from backend.cli.console import load_settings, report_plainly  # noqa: E402
from backend.cli.serving import check_exposure  # noqa: E402
from backend.errors import SettingsError  # noqa: E402
from backend.files.own_process import prepare_process  # noqa: E402
from backend.settings import Settings  # noqa: E402


def create(settings: Settings) -> Any:  # noqa: ANN401 - Flask is in the harness's environment alone
    """Return the harness's Flask application over our service. The models begin to load.

    Raises:
        SettingsError: REDIS_URL is not set, or label-studio-ml is not installed.
    """
    if not settings.queue.redis_url:
        raise SettingsError("REDIS_URL is not set: the harness brings no queue; `samloop up` does")
    prepare_process()
    # 2.x opens an SQLite file in MODEL_DIR when it is imported: keep that out of our registry of checkpoints.
    os.environ["MODEL_DIR"] = str(settings.cache.dir / "label-studio-ml")
    try:
        from backend.server.label_studio_ml.flask_app import create_flask_app
    except ModuleNotFoundError as fault:
        raise SettingsError(
            f"{fault.name} is missing: `make label-studio-ml` makes an environment for the harness"
        ) from fault
    from backend.work.connection import connect

    # Its debug lines print whole request bodies, and /setup's body holds a token.
    logging.getLogger("label_studio_ml").setLevel(logging.INFO)
    return create_flask_app(settings, connection=connect(settings.queue.redis_url))


def main() -> None:
    """Serve with Flask's own server. There is no --debug: its debugger runs what a browser sends."""
    parser = argparse.ArgumentParser(prog="label-studio-ml start backend", description=__doc__)
    parser.add_argument("-p", "--port", type=int, default=9090)
    parser.add_argument("--host", default="127.0.0.1", help="beyond loopback, set BASIC_AUTH_USER and _PASS")
    parser.add_argument("--insecure", action="store_true", help="listen beyond loopback even without credentials")
    options = parser.parse_args()
    with report_plainly():
        settings = load_settings()
        check_exposure(settings, host=options.host, insecure=options.insecure)
        create(settings).run(host=options.host, port=options.port, threaded=True)


if __name__ == "__main__":
    main()
else:
    app = create(load_settings())
