"""What every request passes, whoever answers it: credentials, bounds, and request metrics.

The map, from the door inwards:

    doorkeeper   how many connections stand open, and how long their clients may take
    guard        credentials, and the size of a body
    hosts        by which names browsers know us, and whose pages send requests
    strict_json  JSON as it is read here, large bodies beside the event loop
    page_route   what a request to a page passes: hosts, cross-site requests, errors as pages, headers
    admission    how many slow requests are inside at once
    path_ids     the ids in a request's path
    problems     from an error to a status, headers and a sentence
    metrics      what Prometheus reads
"""
