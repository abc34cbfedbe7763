"""The queue: what is asked for, how far it is, and the embedded server that holds it."""
