"""samloop's fine-tuner: learns from annotations; runs as RQ jobs, or offline on a Label Studio export.

It uses the backend's library (labelstudio, images, masks, registry, sam, settings, ...) and nothing that answers
people. The map, from the door inwards; imports point downwards only:

    __main__    `python -m finetuner EXPORT IMAGES OUT`
    worker      takes jobs off its queue; every job has a process of its own
    refreshing  a refresh as an RQ job
    job         a training as an RQ job
    offline     a training on an export: no Label Studio, no queue, no registry
    lease       who trains a project now
    cancelling  ends a training that nobody wants any more
    pipeline    a training of one Label Studio project: pull, learn, judge, publish, promote
    recipe      from samples to a judged candidate; projects and exports share it
    context     what every step of a training uses
    deciding    whether a candidate may be served
    report      the page beside a checkpoint, and what review pages show of it
    semantic    the semantic head: targets, training, measuring
    training    the training itself: steps, losses, weights, and when it ends
    measuring   how good masks are on held-out images, and how sure that is
    methods     what a training changes: the decoder, LoRA, Conv-LoRA
    data        from Label Studio's tasks to samples
    presets     how large a step is, by what the device holds
    config      one frozen TrainConfig
    patience    reads an image again where its failure passes
    progress    how a training tells where it is
    unfinished  what is kept of a run that is not over
"""
