"""The recipe from samples to a judged candidate, for projects and exports alike.

The modules, from the outside in:

    learning    reports on the data, splits, trains, measures and judges: one candidate
    head_alone  puts a new semantic head beside the served model, if the candidate is not promoted
    notes       builds the checkpoint's manifest
    judging     measures base, served model and candidate on the same held-out objects; calibrates the candidate
    first       plans the short training of a project's first version
    trained     trains on all folds and returns the model to keep
"""
