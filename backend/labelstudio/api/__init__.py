"""Label Studio's HTTP API: a session, and the calls that samloop needs.

client       the calls that samloop makes
session      sends requests to one Label Studio: credentials, retries, failures
auth         credentials: a legacy token, or a personal access token that buys short-lived tokens
filters      the data manager: its tabs, and the filters by which it finds tasks
annotations  counts annotations, and finds deleted ones
predictions  finds tasks without a prediction, stores predictions, deletes outdated ones
backends     the ML backends of a project, and its webhooks
files        uploads, local files, objects in buckets
"""
