"""Held-out masks: as cards in an order, one large, and the images below them.

gallery    the pages of all masks of a version, and of one mask
cards      held-out masks, outlined, with their prompt and what was said of them
choosing   which of them are wanted, and in which order
history    one object in all versions that were measured on it
drawing    a mask as one image to download
suspicion  annotations that are probably wrong
crops      images of masks, at the size shown
"""
