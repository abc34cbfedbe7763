"""A registry in an object store: S3, Google Cloud Storage, Azure, or this process's memory.

registry     the registry
filesystems  from MODEL_DIR's address to fsspec's client of that store
store        objects by their keys: time limits, retries, and errors that say what to do
refs         numbered objects, the highest the latest
last_seen    what this machine saw last, while the store cannot be reached
lines        the lines of one file of the state, and blocks of a hundred
sharing      the state that several machines share
cache        verified checkpoints on this machine's disk
"""
