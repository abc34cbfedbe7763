"""The embedding of a task's image, from the nearest tier that has it.

task_embeddings  from a task to its embedding: reads the image, asks the store
shared_reads     reads an image once for all who ask at the same moment
held_images      bounds the memory of image files that wait for the encoder
store            memory, disk, or the encoder: computes an embedding once for all who ask
"""
