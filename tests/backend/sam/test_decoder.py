"""The decoder computes what transformers' does, in another order."""

from dataclasses import replace

import pytest
import torch
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.sam.decoder import cells_of, decode_all
from backend.sam.family import DecoderInputs


def random_decoder() -> SamMaskDecoder:
    torch.manual_seed(0)
    config = SamConfig(mask_decoder_config={"num_hidden_layers": 2}).mask_decoder_config
    config._attn_implementation = "eager"
    return SamMaskDecoder(config).eval()


@pytest.mark.parametrize("shared_mask", [True, False])
def test_it_computes_what_transformers_computes(shared_mask: bool) -> None:
    decoder = random_decoder()
    image, positions, sparse = torch.randn(1, 256, 64, 64), torch.randn(1, 256, 64, 64), torch.randn(3, 4, 256)
    dense = torch.randn(1 if shared_mask else 3, 256, 64, 64)
    with torch.no_grad():
        places = cells_of(positions, torch.float32)
        inputs = DecoderInputs(maps=(image,), positions=places, sparse=sparse, dense=dense)
        logits, scores = decode_all(decoder, inputs)
        for index in range(3):
            given = (image, positions, sparse[None, index : index + 1], dense[index % len(dense)][None])
            single, single_score = decoder(*given, multimask_output=False)
            several, several_scores = decoder(*given, multimask_output=True)
            expected = torch.cat([single, several], dim=2)[0, 0]
            torch.testing.assert_close(logits[index], expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                scores[index], torch.cat([single_score, several_scores], 2)[0, 0], atol=1e-5, rtol=1e-5
            )


@torch.no_grad()
def test_a_token_that_is_absent_changes_no_mask() -> None:
    decoder = random_decoder()
    image, sparse = torch.randn(1, 256, 8, 8), torch.randn(2, 3, 256)
    inputs = DecoderInputs(
        maps=(image,),
        positions=cells_of(torch.randn(1, 256, 8, 8), torch.float32),
        sparse=sparse,
        dense=torch.randn(1, 256, 1, 1),
    )
    logits, ious = decode_all(decoder, inputs)
    filled = torch.cat([sparse, torch.randn(2, 2, 256)], dim=1)
    absent = torch.tensor([[False] * 3 + [True] * 2] * 2)
    again, again_ious = decode_all(decoder, replace(inputs, sparse=filled, absent=absent))
    torch.testing.assert_close(again, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again_ious, ious, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_prompts_for_several_images_get_what_each_image_alone_gives() -> None:
    decoder = random_decoder()
    images, sparse = torch.randn(2, 256, 8, 8), torch.randn(3, 2, 256)
    inputs = DecoderInputs(
        maps=(images,),
        positions=cells_of(torch.randn(1, 256, 8, 8), torch.float32),
        sparse=sparse,
        dense=torch.randn(1, 256, 1, 1),
        image_of=torch.tensor([1, 0, 1]),
    )
    logits, _ = decode_all(decoder, inputs)
    for row, image in enumerate([1, 0, 1]):
        maps = (images[image : image + 1],)
        alone, _ = decode_all(decoder, replace(inputs, maps=maps, sparse=sparse[row : row + 1], image_of=None))
        torch.testing.assert_close(logits[row], alone[0], atol=1e-5, rtol=1e-5)
