"""Reads and writes Label Studio: its JSON, its API, its images. The only place that knows them.

api           Label Studio's HTTP API: a session, and the calls that samloop needs
controls      from a drawn region to a mask or a prompt, and from a mask to a region
prompts       what an annotator points at
label_config  a project's labelling interface: its image, and the controls that draw on it
webhook       what Label Studio says happened: START_TRAINING and the events of a project
export        the labelling configuration of an export, by the regions that people drew
description   the line in a project's description that leads to the review page
rle           the run-length code of brush masks
values        numbers in JSON that may hold anything
alpha         from the alpha of a painted mask to the mask that its annotator sees
payloads      names for Label Studio's JSON objects
task_data     where a task's data holds its image
"""
