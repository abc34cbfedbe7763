"""Outgoing HTTP to addresses that strangers wrote: which addresses are allowed, and how large an answer may be.

url_policy     which addresses an image may come from
browsers       reads addresses as browsers do
checked_peers  applies the same policy to connections of `requests`
data_uri       addresses that hold the bytes themselves
download       one HTTP GET with limits on address, time and bytes
"""
