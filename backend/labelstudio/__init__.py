"""Reads and writes Label Studio: its JSON, its API, its images. The only place that knows them.

api           Label Studio's HTTP API: a session, and the calls that samloop needs
controls      turn a drawn region into a mask or a prompt, and a mask into regions
prompts       read what an annotator points at
label_config  reads a project's labelling interface: its images, and the controls that draw on them
reasons       shows in the editor why a click brought no mask
webhook       reads the events that Label Studio sends: START_TRAINING, annotations that changed
export        recovers the labelling interface of an export from the regions that people drew
export_file   reads the tasks of an exported file, or of a target storage
description   writes the link to the review page into a project's description
rle           the run-length code of brush masks
values        reads numbers from JSON that may hold anything
alpha         turns the alpha of a painted mask into the mask that its annotator sees
payloads      names for Label Studio's JSON objects
tags          reads the tags of a labelling interface
task_data     finds the image in a task's data
"""
