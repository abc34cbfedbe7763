"""From a task to masks: answers clicks and batches, with the models that it loads. No HTTP.

engine       loads the base model beside the running server, then serves and watches the registry
clicks       answers a click: one task in, one prediction out
batches      answers batches: the tasks that Label Studio opens without a prompt
batch_masks  computes the masks of such a task
portions     decodes many prompts on one image, a few at a time
answers      writes masks as the prediction that Label Studio shows or stores
refusals     the last clicks that were refused, and why
ahead        embeds the next tasks while the annotator looks at this one
warming      embeds many tasks in a row
task_image   a task, and the way to its image: the value that these modules pass on
slot         the version that serves a project, and the hot swap
machine      encodes images and decodes prompts
embeddings   the embedding of a task's image, from the nearest tier that has it
turns        whose turn it is: lanes, jobs, traffic
"""
