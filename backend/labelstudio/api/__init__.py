"""Label Studio's HTTP API: a session, and the calls that samloop needs.

client       Label Studio's API, as far as samloop needs it
session      one conversation with one Label Studio: credentials, retries, failures
auth         a legacy token, or a personal access token and its short-lived ones
filters      the data manager: tabs, and the filters by which it finds tasks
annotations  how many there are, and which are deleted
predictions  which tasks lack a prediction; storing many, deleting old ones
backends     the ML backends of a project, and its webhooks
files        uploads, local files, objects in buckets
"""
