"""samloop's backend: serves SAM masks to Label Studio.

The map of the house, from the door inwards; imports point downwards only (import-linter holds it):

    __main__      the command line `samloop`: commands/
    _wsgi         what `label-studio-ml start backend` runs, in an environment of its own: harness
    commands      one module a family of commands
    demo          a real Label Studio with a sample project, walked through
    harness       our service in label-studio-ml's Flask (labelstudio.ml_base: SamBackend)
    stack         the embedded Valkey, the worker and the server as child processes
    app           composition root of the server: Settings -> every object, wired once
    review        the analysts' pages
    routes        HTTP only
    serving       one task in, one prediction out (no HTTP, no globals)
    live          what was submitted, compared with what we had given
    training      webhook -> RQ, by the dotted name "finetuner.job.run"; knows no trainer
    refreshes     promotion -> RQ, by the dotted name "finetuner.refreshing.run"
    --- the library half, which also carries the fine-tuner ---
    refresh       fresh pre-annotations: the backend computes, Label Studio stores; backend_client, old_predictions
    sam           the only place that imports torch: weights, encoder, predictor, embeddings, slot
    labelstudio   the only place that knows Label Studio's JSON
    registry      checkpoints as files: publish, pointers, watch
    jobs          what both ends of the queue agree on
    charts        coordinates of small charts
    order         which tasks to label first
    progress_line how far a training is, in words
    masks         geometry of arrays: prompts, polygons, outlines, metrics
    valkey        the embedded queue server
    settings      one frozen Settings
    processes     children that do not outlive their parent
    errors        one tree of errors
"""
