"""Another family than SAM's behind the real editor: a random SAM 2.1 tiny, of its real size, answers a click."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.serving import Served, served
from fakes.studio_setup import StudioSetup
from PIL import Image
from selenium import webdriver
from support.editor import Editor
from support.waiting import wait_until
from transformers import Sam2Config, Sam2Model

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.cli.demo.photographs import PHOTOGRAPHS, sample_photographs
from backend.cli.demo.project import centre_px, create_project
from backend.cli.demo.samples import SampleImage
from backend.masks.prompt import Click, Prompt
from backend.sam.loading import decoder_of, load_base
from backend.sam.predictor import Predictor, encode
from tests.support.small_bases import make_lively

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]
FOLDER = "sam2.1-tiny-random"


@pytest.fixture(scope="module")
def photograph() -> SampleImage:
    return sample_photographs()[0]


@pytest.fixture(scope="module")
def base_folder(photograph: SampleImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first random base whose mask of the click is neither nothing nor everything."""
    folder = tmp_path_factory.mktemp("bases") / FOLDER
    x_px, y_px = centre_px(photograph.objects[0])
    click = Prompt(clicks=(Click(float(x_px), float(y_px)),))
    image = Image.open(io.BytesIO(photograph.png)).convert("RGB")
    for seed in range(8):
        torch.manual_seed(seed)
        model: Any = Sam2Model(Sam2Config()).eval()
        make_lively(model, by=0.05)
        model.save_pretrained(folder)
        base = load_base(str(folder), cache_dir=folder.parent, device="cpu")
        served_by = Predictor(base, decoder_of(base, None), version="x")
        (found,) = served_by.decode(encode(base, image), [click])
        if 0.02 < found.mask.mean() < 0.98:
            return folder
    raise AssertionError("no random base says anything of the click")


@pytest.fixture(scope="module")
def backend(
    base_folder: Path, label_studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    environ = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "SAMLOOP_MODEL": str(base_folder),
    }
    with served(tmp_path_factory.mktemp("server"), environ=environ) as running:
        yield running


def test_a_folder_of_a_sam_2_1_tiny_serves_a_click_whose_mask_is_submitted_with_its_name(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, backend: Served, photograph: SampleImage
) -> None:
    client = StudioSetup(label_studio.url, label_studio.token)
    project_id, (task,) = create_project(client, PHOTOGRAPHS, images=[photograph])
    client.backends.connect(project_id, url=backend.url, title="samloop")
    coin = photograph.objects[0]
    editor = Editor(browser, label_studio, backend_log=backend.log)
    editor.log_in()
    editor.open(project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.click_on(coin)
    editor.screenshot("sam2-mask")
    editor.accept()
    editor.submit()

    (annotation,) = wait_until(lambda: client.task(task.task_id)["annotations"], every_s=0.3)
    (region,) = [region for region in annotation["result"] if region["type"] == "brushlabels"]
    assert region["meta"]["model_version"] == FOLDER
    assert region["value"]["brushlabels"] == [coin.label]
