"""Layers and arithmetic that are faster than the usual ones, with the same results.

arithmetic         chooses the dtype in which a model computes on this machine
attention_kernel   the same attention on a GPU, as one kernel in Triton
counting           counts the set cells of masks
fused_attention    the attention of SAM's encoder, without a tensor of the scores' size for its positions
graphs             records what runs again and again as CUDA graphs
int8_linear        linear layers that multiply in whole numbers of 8 bits
on_device          prepares images and enlarges masks on an accelerator
pointwise          linear layers and convolutions, with the GELU after them
product_attention  attention in bfloat16 on a CPU, for models that choose theirs by name
side_by_side       computes parts of a layer side by side, on a core of their own
tiny_vit           TinyViT-5M as SAM's image encoder
two_way            the decoder's attention between tokens and cells, in fewer multiplications
upscaling          enlarges the decoder's cells and draws masks, a prompt at a time
windows            cuts maps into windows of tokens, and joins them
"""
