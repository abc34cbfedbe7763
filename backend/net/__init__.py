"""Outgoing HTTP to addresses that strangers wrote: which are allowed, and how much may come back."""
