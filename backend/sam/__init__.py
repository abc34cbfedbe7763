"""Segment Anything: weights, encoder, predictor, embeddings. In the backend, only this room and `serving` import torch.

family       the interface of a model family: everything in which two kinds of promptable model differ
families     one file a family
loading      loads base models, and the parts that a checkpoint puts in place of theirs
weights      finds, fetches and verifies base weights
predictor    turns images into embeddings, and prompts into masks
predicted    what a predictor answers: masks with their scores
decoder      the mask decoder, for many prompts of one image
canvas       lays an image on the encoder's canvas, and turns logits into a mask of the image
frame        computes where an image lies on the canvas and on the decoder's grid
prompts      turns prompts into the tensors of the prompt encoder, in canvas px
mask_prompt  turns an existing mask into logits on the canvas
policy       chooses which of the decoder's masks answers a prompt
cleaning     removes specks from masks
closer       looks closer at small objects
enlarge      finds where an enlarged low-resolution map is above zero
scoring      scores masks and tasks
automatic    finds everything that stands out in an image, without a prompt
semantic     finds objects without a prompt: the semantic head, and the objects in its maps
adapters     adapters in an encoder, and the layers that serve them
embeddings   caches embeddings by their key, in memory and on disk
layers       layers and arithmetic that are faster than the usual ones, with the same results
export       writes a model as a folder that other programs load
"""
