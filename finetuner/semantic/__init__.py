"""The semantic head's training: what every cell of an image is, how a head learns it, how good it is.

targets    what a cell of an image is: the share of every label in it
learning   the loop of the semantic head, one image a step
readout    the head's readout, solved for in one go
measuring  how well a head finds the labels of held-out images
beside     a semantic head beside the promptable decoder: trained, measured, served if it is fit
"""
