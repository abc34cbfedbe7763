"""`train` and `evaluate`: with Label Studio and a queue, or offline on an export.

commands  the two commands
progress  one bar on a terminal; a line a step where the output goes elsewhere
results   what was measured, as a table
"""
