"""Decides who computes when: the most urgent first, and nobody without end.

traffic        whether an annotator waits just now, and the order of who goes first
job            one piece of work: who waits for it, until when, and how it makes way
lanes          work of one kind in a few threads of its own
machine_share  a job's share of the cores, and its pauses between two operations of torch
"""
