"""What the backend tells a refresh of a task, beside its prediction."""

OUT_OF_TIME = "OutOfTime"  # the `why` of a task whose turn did not come in its batch (backend.serving.batches)
