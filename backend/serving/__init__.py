"""From a task to masks: what answers clicks and batches, and what is loaded to do so. No HTTP.

engine       loads the base model beside the running server, then serves and watches the registry
clicks       answers a click: one task in, one prediction out
batches      answers what Label Studio asks for when it opens tasks
batch_masks  the masks that a task gets without a prompt
portions     many prompts on one image, a few at a time
answers      from masks to the prediction that Label Studio shows or stores
refusals     the last clicks that were refused, and why
ahead        embeds the tasks that come next while the annotator looks at this one
warming      embeds many tasks in a row
task_image   a task, and how to get at its image: the value that all of these pass on
slot         what is served to a project, and the hot swap
machine      where images are encoded and prompts decoded
embeddings   the embedding of a task's image, from the nearest place that has it
turns        who computes when: lanes, jobs, traffic
"""
