"""samloop's backend: serves SAM masks to Label Studio.

The map of the house, from the door inwards. Imports point downwards only (pyproject.toml's contracts hold it); a test
holds the map against the folder.

    __main__     the command line `samloop`: cli
    _wsgi        what `label-studio-ml start backend` runs: server.label_studio_ml
    cli          one module a family of commands; `samloop up`, the demo, the order in which to label
    server       the HTTP server: composition root, routes, the label-studio-ml adapter
    review       the analysts' pages
    live         submitted annotations, compared with the masks they began with
    serving      from a task to masks: clicks, batches, lanes, the hot swap, embeddings ahead of time
    http         what every request passes: credentials, bounds, request metrics
    work         the queue: what is asked for, how far it is, the embedded Valkey
    refresh      fresh pre-annotations: the backend computes, Label Studio stores
    images       from a task's URL to the image that the annotator sees
    labelstudio  the only room that knows Label Studio's JSON and API
    sam          Segment Anything: encoder, decoder, predictor, adapters, semantic head, export
    registry     checkpoints as files: publish, verify, point at
    net          outgoing HTTP to addresses that strangers wrote
    masks        geometry of arrays: prompts, polygons, outlines, metrics
    charts       coordinates of small charts
    files        durable writes, appended lines, watches, child processes
    settings     one frozen Settings
    errors       one tree of errors
    redaction    addresses without their secrets
    amounts      numbers with their nouns
    ids          ids that come from outside, parsed in one place
"""
