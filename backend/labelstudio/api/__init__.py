"""Label Studio's HTTP API: a session, and the calls that samloop needs."""
