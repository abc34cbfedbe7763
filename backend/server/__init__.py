"""The HTTP server: its composition root, the routes that Label Studio calls, and the label-studio-ml adapter.

The map, from the door inwards:

    app              composition root: settings -> every object, wired once
    routes           paths and their handlers
    bodies           what requests carry
    status           what requests are answered with
    events           a project's status as server-sent events
    gauges           what /metrics shows beside counted requests
    listening        the application behind a port: bounded connections, an orderly end
    label_studio_ml  the same service behind label-studio-ml's harness
"""
