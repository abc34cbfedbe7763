"""From Label Studio's tasks to samples: objects, images, splits, and prompts to learn from.

The map, from the door inwards:

    dataset      all usable images of a project on both sides of the split
    generic      photographs of other things, with the base's own masks
    embeddings   what the encoder makes of a sample's image
    folds        the trainings of a dataset, and which images are fair to compare on
    split        which images are held out, for ever
    sample       an annotated image, as it is or in another view
    views        an image turned, mirrored, zoomed
    annotations  a task's regions as masks
    consensus    one set of masks from several annotators' drawings
    annotators   whose annotation counts
    prompting    prompts to learn from and to measure with
    objects      one annotated object and its coverage of the decoder's grid
    parts        regions into which people painted all objects of a label, as objects
    exclusions   what was left out, and why
"""
