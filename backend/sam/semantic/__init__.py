"""Objects without a prompt: the semantic head, and the objects in its maps."""
