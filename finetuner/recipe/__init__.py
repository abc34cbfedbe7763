"""From samples to a judged candidate; projects and exports share it.

The map, from the door inwards:

    learning   report, split, train, measure, judge: one candidate
    notes      what the checkpoint's manifest keeps of all this
    judging    base, served model and candidate on the same held-out objects; the candidate's calibration
    trained    the trainings of all folds, and what is kept of them
"""
