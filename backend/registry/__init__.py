"""Checkpoints as files, not models: publish, verify, point at, watch.

protocol     what a registry is, wherever it keeps its checkpoints
opening      which kind of registry MODEL_DIR names
local        a registry of files below one folder
checkpoint   a checkpoint on disk: a folder with weights and a manifest
contents     published checkpoints by their content
refs         numbered files, the highest the latest
pointers     what numbered files say: a version's content, and the decision that stands
lookup       versions by the names that people type
metrics      what a manifest knows of a training and of how good it is
figures      how good masks are, as numbers that are written
calibration  what a predicted IoU is worth
review_file  the held-out objects that review pages show
state        where files live that change while samloop runs
disk         what errors of the disk mean to whoever asked
"""
