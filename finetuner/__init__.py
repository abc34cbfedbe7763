"""samloop's fine-tuner: learns from annotations, as RQ jobs or offline on a Label Studio export.

It uses the backend's library (labelstudio, images, masks, registry, sam, settings, ...), and nothing of the server.
The modules, from the outside in; imports point downwards only:

    __main__    `python -m finetuner EXPORT IMAGES OUT`
    worker      takes jobs off its queue, and runs each job in its own process
    refreshing  runs a refresh as an RQ job
    job         runs a training as an RQ job
    offline     trains on an export: no Label Studio, no queue, no registry
    lease       holds the right to train a project
    cancelling  ends a cancelled training
    pipeline    trains on a Label Studio project: pulls, learns, judges, publishes, promotes
    recipe      turns samples into a judged candidate, for projects and exports alike
    context     holds what every step of a training uses
    deciding    decides whether a candidate may be served
    report      builds a checkpoint's report page, and the masks for the review pages
    semantic    trains and measures the semantic head
    training    runs the training loop: steps, losses, weights, early stopping
    measuring   measures masks on held-out images, with confidence intervals
    methods     the training methods: the decoder, LoRA, Conv-LoRA
    data        turns Label Studio's tasks into samples
    presets     chooses the size of a step by the device's memory
    config      the recipe: one frozen TrainConfig
    patience    reads an image again after a temporary failure
    progress    the interface that receives a training's progress
    unfinished  saves the states of unfinished trainings
"""
