"""The registry: checkpoints as files, and the decisions which of them serve.

protocol     what a registry is, wherever it keeps its checkpoints
opening      which kind of registry MODEL_DIR names
numbered     what registries in a folder and in a store have in common
local        a registry of files below one folder
folder       its parts
objects      a registry in an object store
checkpoint   a checkpoint on disk: a folder with weights and a manifest
refs         numbered files, the highest the latest
pointers     the contents of numbered files: a version's digest, or a decision
lookup       versions by the names that people type
metrics      a manifest's metrics: how a training went, and how good its masks are
figures      how good masks are, as JSON
calibration  maps a predicted IoU to the IoU to expect
review_file  the held-out objects that review pages show
image_file   the images of a training, with what people drew on them
state        the folders of files that change while samloop runs
"""
