"""Adapters in an encoder: what a checkpoint holds of them, and the layers that serve them.

kind       what a kind of adapter is; a module here with a constant `KIND` is one
lora       LoRA, merged into the weights
conv_lora  Conv-LoRA, a layer of its own
places     the layers of an encoder that an adapter sits on
served     the encoder that serves with an adapter
"""
