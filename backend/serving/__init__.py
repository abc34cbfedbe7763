"""From a task to masks: what answers clicks and batches, and what is loaded to do so. No HTTP.

engine           loads the base model beside the running server, then serves and watches the registry
slot             what is served to a project, and the hot swap
clicks           answers a click: one task in, one prediction out
batches          answers what Label Studio asks for when it opens tasks
batch_masks      the masks that a task gets without a prompt
answers          from masks to the prediction that Label Studio shows or stores
task_image       a task, and how to get at its image
task_embeddings  from a task to the embedding of its image
embedding_store  an image's embedding from the nearest tier: memory, disk, the encoder
shared_reads     reads an image once, however many ask for it at the same moment
held_images      bounds the memory of image files that wait for the encoder
ahead            embeds the tasks that come next while the annotator looks at this one
warming          embeds many tasks in a row
machine          where images are encoded and prompts decoded
machine_share    how a job uses its share of the cores, and makes way for clicks
lanes            work of one kind in a few threads of its own, without an endless queue
job              one piece of work in a lane
traffic          who goes first, and whether an annotator waits now
"""
