"""The HTTP server: its composition root, the routes that Label Studio calls, and the label-studio-ml adapter."""
