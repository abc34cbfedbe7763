"""The training loop, its losses, its weights, and the rule that ends it.

run             runs one training from its first step to its last, and resumes it after a kill
loop            trains on one or more images per step and yields the steps
rounds          simulates prompts for a step's images and back-propagates the losses
losses          losses by name, one value per object and mask
weights         the trained weights, their moving average, and the optimizer's state
start           chooses the weights that a training starts from
replay          mixes in photographs of everyday scenes, to prevent forgetting
curves          records the loss of the steps and the IoU on held-out objects
early_stopping  stops a training and chooses the weights to publish
processes       trains one model in several processes, one per GPU
"""
