"""README's picture: the demo's nuclei in a real Label Studio, a click on a nucleus, and the mask that came back.

python tests/benchmarks/readme_picture.py

Starts Label Studio (.venv-label-studio), `samloop serve` and a browser; writes .github/label-studio.jpg (or .png, where
that is smaller than 150 kB).
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import ROOT
from benchmarks.review import write_image
from fakes.studio_setup import StudioSetup
from support.browser import open_chromium
from support.editor import Editor
from support.label_studio import EXECUTABLE
from support.waiting import wait_for_model

from backend.cli.demo.label_studio import LabelStudioProcess, free_port
from backend.cli.demo.nuclei import LABEL, NUCLEI, sample_nuclei
from backend.cli.demo.project import create_project
from backend.files.children import end
from backend.work.embedded import Valkey

PICTURE = ROOT / ".github" / "label-studio"
_IMAGES = 3  # of the sample's last, which are easy to label by hand
_CLICKS = 3
_SIZE_PX = 1280, 860


@contextmanager
def serve(label_studio: LabelStudioProcess, folder: Path) -> Iterator[str]:
    """`samloop serve` with real weights; the address, once its model is loaded."""
    port = free_port()
    with Valkey(folder / "queue") as valkey, (folder / "serve.log").open("wb") as log:
        environment = os.environ | {
            "REDIS_URL": valkey.start(),
            "MODEL_DIR": str(folder / "models"),
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.token,
        }
        command = [sys.executable, "-P", "-m", "backend", "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_model(f"http://127.0.0.1:{port}", process=server, log=folder / "serve.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            end(server, grace_s=20)


def take_picture(folder: Path) -> bytes:
    """A PNG of the editor: masks that were accepted, and one that a click just brought."""
    with LabelStudioProcess(EXECUTABLE, data_dir=folder / "label-studio") as label_studio:
        client = StudioSetup(label_studio.url, label_studio.token)
        project_id, tasks = create_project(client, NUCLEI, images=sample_nuclei()[-_IMAGES:])
        with serve(label_studio, folder) as url:
            client.backends.connect(project_id, url=url, title="samloop")
            size = "--window-size={},{}".format(*_SIZE_PX)
            with open_chromium(folder / "profile", size) as browser:
                editor, task = Editor(browser, label_studio), tasks[0]
                editor.log_in()
                editor.open(project_id, task.task_id)
                editor.switch_on_auto_annotation()
                first, *others = task.image.objects[:_CLICKS]
                editor.take_smart_tool("key-point-tool", label=LABEL)
                editor.click_on(first)
                for item in others:
                    editor.accept()
                    editor.take_smart_tool("key-point-tool", label=LABEL)
                    editor.click_on(item)
                return bytes(browser.get_screenshot_as_png())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.open(io.BytesIO(take_picture(Path(folder)))).convert("RGB")
    write_image(picture, PICTURE)


if __name__ == "__main__":
    main()
