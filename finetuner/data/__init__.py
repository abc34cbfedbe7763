"""Turns Label Studio's tasks into samples: objects, images, splits, and simulated prompts.

The modules, from the outside in:

    dataset      reads the usable images of a project and splits them into two sides
    generic      loads unrelated photographs with the base's own masks
    embeddings   provides the embeddings of samples, from the cache or from the encoder
    folds        lists the trainings of a dataset, and the images that are fair to compare on
    split        chooses the held-out images, permanently
    sample       an annotated image, unchanged or in a view
    views        mirrors, turns and zooms an image with its masks
    annotations  reads a task's regions as masks
    consensus    merges several annotators' drawings by majority vote
    annotators   chooses the annotations that count
    prompting    simulates prompts, for training and for measuring
    objects      an annotated object, and its coverage of the decoder's grid
    parts        divides regions that hold all objects of a label into single objects
    exclusions   counts what was left out, by reason
"""
