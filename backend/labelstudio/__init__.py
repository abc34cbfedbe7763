"""Reads and writes Label Studio: its JSON, its API, its images. The only place that knows them."""
