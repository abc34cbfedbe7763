"""Which of SAM's four masks answers a prompt.

For anything but one positive click alone it is the single mask, which SAM was trained to give where the prompt is not
ambiguous. One click is: it may mean a part or the whole, and SAM's three further masks are the small, the middle and
the large reading of it. Measured with mobile-sam on real images, one click at each object's inmost point, mean IoU on
the decoder's grid, and the difference to the single mask with its 95 % interval over images (tests/benchmarks,
`python tests/benchmarks/point_policy.py`):

| policy | nuclei, 387 objects | coins and bricks, 100 |
| --- | --- | --- |
| the single mask | .629 | .787 |
| best of three by predicted IoU (segment-anything) | .566 (-.064 [-.093, -.038]) | .875 (+.087 [.052, .112]) |
| best of three by predicted IoU x stability | .576 (-.053 [-.085, -.026]) | .867 (+.080 [.041, .110]) |
| the small reading, always | .698 (+.068 [.045, .091]) | .888 (+.101 [.050, .135]) |
| the small reading where it scores more than the single | .689 (+.060 [.039, .081]) | .896 (+.109 [.067, .139]) |
| the best of all four, if it were known | .715 | .898 |

So the score cannot choose among three readings: the large one is often the whole picture, and sure of itself. But it
can choose between two. "The small reading where it scores more than the single" is in use: it gains on both sets
without a margin to tune (margins from -.3 to +.1 do as well within .01), and unlike "always" it keeps the single mask
wherever the decoder trusts that more, as fine-tuned decoders do: after a short training on 16 images of nuclei, 60
objects of the others got .800 by the single mask, .756 by the small reading, .803 by the policy in use.
"""

from collections.abc import Sequence

from backend.masks.prompt import Prompt

SINGLE, SMALL = 0, 1


def considered(prompt: Prompt) -> Sequence[int]:
    """Which masks of `mask_decoder.decode_all` are compared by score; the first of equals wins."""
    alone = prompt.box is None and prompt.mask is None and len(prompt.clicks) == 1
    return (SINGLE, SMALL) if alone and prompt.clicks[0].is_foreground else (SINGLE,)
