"""The HTTP server: its composition root, the routes that Label Studio calls, and the label-studio-ml adapter.

The map, from the door inwards:

    app              composition root: settings -> every object, wired once
    routes           paths and their handlers
    bodies           the bodies of requests
    status           the bodies of answers
    events           a project's status as server-sent events
    gauges           the figures of /metrics that are read, not counted
    listening        the application behind a port: bounded connections, an orderly end
    label_studio_ml  the same service behind label-studio-ml's harness
"""
