"""Measures masks on held-out images, with confidence intervals.

evaluation     measures a model's masks on held-out objects, as they would be served
comparison     compares two models on the same objects, with bootstrap intervals
calibration    fits and measures the reliability of predicted IoUs
labels         guesses which label a held-out object looks like
forgetting     measures the candidate on unrelated photographs
click_policy   chooses which of SAM's masks answers a single click in a project
magnification  chooses whether a project's prompts are answered in magnified tiles
everyday       sees photographs of everyday things, to tell a project's images from them
domain         draws the line between images that a project's decoder answers and those that the base answers
"""
