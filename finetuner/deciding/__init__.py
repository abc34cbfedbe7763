"""Whether a candidate may be served.

candidate  what a training made, and what it must beat
outcome    what was measured, and what follows from it
promotion  whether the candidate may be served, with reasons in words
smoke      what no candidate may fail at
"""
