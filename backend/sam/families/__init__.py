"""The kinds of model that can be a base."""
