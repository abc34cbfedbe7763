"""What every request passes, whoever answers it: credentials, bounds, and request metrics.

The map, from the door inwards:

    doorkeeper   limits how many connections are open, and how long their clients may take
    guard        credentials, and the size of a body
    hosts        the names under which browsers know us, and the sites whose pages may send requests
    strict_json  strict JSON; large bodies are parsed beside the event loop
    page_route   what a request to a page passes: hosts, cross-site requests, errors as pages, headers
    admission    limits how many slow requests run at once
    path_ids     the ids in a request's path
    problems     turns an error into a status, headers and a sentence
    metrics      the figures for Prometheus
"""
