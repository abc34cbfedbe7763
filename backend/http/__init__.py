"""What every request passes, whoever answers it: credentials, bounds, and request metrics.

The map, from the door inwards:

    guard       credentials, the size of a body, strict JSON
    page_route  what a request to a page passes: hosts, cross-site requests, errors as pages, headers
    admission   how many slow requests are inside at once
    path_ids    the ids in a request's path
    problems    from an error to a status, headers and a sentence
    metrics     what Prometheus reads
"""
