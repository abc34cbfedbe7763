"""The embedding of a task's image, from the nearest place that has it.

task_embeddings  from a task to its embedding: reads the image, asks the store
shared_reads     one read of an image, however many ask at the same moment
held_images      bounds the memory of image files that wait for the encoder
store            memory, disk, or the encoder: one computation, however many ask
"""
