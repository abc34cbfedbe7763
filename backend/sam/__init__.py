"""Segment Anything: weights, encoder, predictor, embeddings. Besides `serving`, only this room imports torch.

family       what a model family is: all that differs between two kinds of promptable model
families     one file a family
loading      base models, and what projects put in place of parts of them
weights      base weights: looked up, fetched, verified
predictor    from images to embeddings, and from prompts to masks
decoder      the mask decoder over many prompts of one image
canvas       from an image to the encoder's canvas, and from logits to a mask of the image
frame        where an image lies on the canvas and on the decoder's grid: numbers alone
prompts      prompts in canvas px, as the prompt encoder takes them
mask_prompt  a mask that exists already, as logits on the canvas
policy       which of the decoder's masks answers a prompt
cleaning     masks as annotators see them: without specks
refine       a second look at a small object on a large image
enlarge      where an enlarged low-resolution map is above zero
scoring      scores of masks and of tasks
automatic    everything that stands out in an image, without a prompt
semantic     objects without a prompt: the semantic head, and the objects in its maps
adapters     adapters in an encoder, and the layers that serve them
embeddings   embeddings by their key, in memory and on disk
layers       layers and arithmetic that are faster than the plain ones, and equal to them
export       a model as a folder that other programs load
"""
