"""Finds objects without a prompt: the semantic head, and the objects in its maps.

head      computes a map for every label of a project from an embedding
objects   turns every connected patch of a label into an object
touching  separates touching objects of one label by the decoder
"""
