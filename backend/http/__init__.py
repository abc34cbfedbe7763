"""What every request passes, whoever answers it: credentials, bounds, and request metrics.

guard      credentials, a bounded body and strict JSON, before a route sees the request
admission  how many slow requests are inside at once
metrics    what GET /metrics tells Prometheus of requests
problems   an error's status, headers and sentence
path_ids   the ids in a request's path
"""
