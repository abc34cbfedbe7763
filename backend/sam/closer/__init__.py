"""Looks closer at small objects: encodes a part of the image, which fills the canvas, and decodes them again there.

refine  cuts out one object of an image that is larger than the canvas
tiles   divides an image, where a project's objects are small
"""
