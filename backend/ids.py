"""Ids that come from outside, parsed in one place."""
