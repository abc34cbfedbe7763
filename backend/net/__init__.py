"""Outgoing HTTP to addresses that strangers wrote: which are allowed, and how much may come back.

url_policy     which addresses an image may come from
checked_peers  the same for connections of `requests`
download       one HTTP GET with bounds on address, time and bytes
"""
