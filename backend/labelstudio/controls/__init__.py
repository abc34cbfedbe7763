"""Label Studio's controls: from a drawn region to a mask or a prompt, and from a mask to a region.

shape    what a control draws, as one value: how its regions are read, written and pointed with
shapes   one file a shape: brush, bitmask, polygon, ellipse, rectangle, keypoint, vector
frame    from per cent of the image to pixels of the upright image
regions  the regions of an annotation, whatever drew them: their shape, label and mask
results  from a mask to the regions and predictions that Label Studio stores
choice   which control of a project gets a mask
"""
