"""Layers and arithmetic that are faster than the plain ones, and equal to them.

arithmetic       in which numbers a model computes on this processor
fused_attention  the attention of SAM's encoder with its relative positions in one product
on_device        preparing an image and enlarging masks on an accelerator
pointwise        linear layers and convolutions with the GELU that follows
tiny_vit         TinyViT-5M as SAM's image encoder
"""
