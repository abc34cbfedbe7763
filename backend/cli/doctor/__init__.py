"""What `samloop doctor` looks at beyond the machine's own settings; every fault names the command that mends it.

project   a Label Studio project: its config, its backend and webhook, its images, and both ways between them
server    the backend as this machine reaches it: its model, its version, what it refuses
room      memory for the base, and disk for versions
"""
