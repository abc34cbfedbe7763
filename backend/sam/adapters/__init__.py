"""Adapters in an encoder: their weights in a checkpoint, and the layers that serve them.

kind       the interface of a kind of adapter; a module here with a constant `KIND` is a kind
lora       LoRA, merged into the weights
conv_lora  Conv-LoRA, layers of its own
places     the layers of an encoder that take an adapter
served     puts an adapter into an encoder that serves
"""
