"""Objects without a prompt: the semantic head, and the objects in its maps.

head      a map for every label of a project from an embedding alone
objects   an object for every connected patch of a label
touching  touching objects of one label, told apart by the decoder
"""
