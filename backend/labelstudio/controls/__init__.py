"""Label Studio's controls: turn a drawn region into a mask or a prompt, and a mask into regions.

shape    the type of a shape: how to read its regions, write them, and point with them
shapes   one file a shape: brush, bitmask, polygon, ellipse, rectangle, keypoint, vector
frame    turns per cent of the image into pixels of the upright image
regions  reads the regions of an annotation, of any shape: their label and mask
results  turns a mask into the regions and predictions that Label Studio stores
choice   chooses the control of a project that gets a mask
"""
