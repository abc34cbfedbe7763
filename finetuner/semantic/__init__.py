"""Trains and measures the semantic head, which labels every cell of an image without a prompt.

targets    computes the share of every label in every cell of an image
learning   the training loop, with one image per step
readout    solves for the head's linear readout by ridge regression
measuring  measures a head's labels on held-out images
judging    compares a head with what answers batches now
beside     trains a head beside the promptable decoder, measures it, and decides whether to serve it
"""
