"""The HTTP server: its composition root, the routes that Label Studio calls, and the label-studio-ml adapter.

app              composition root: from Settings to every object, wired once
routes           what Label Studio and label-studio-ml call, and what people watch a training with
gauges           what /metrics tells besides requests
label_studio_ml  the same service inside label-studio-ml's own harness
bodies           what requests carry in their bodies
events           a project's status as server-sent events, for as long as a browser listens
status           what requests are answered with, as /docs shows it
"""
