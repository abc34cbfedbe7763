"""Decides whether a candidate may be served.

candidate  the result of a training, and the served model that it must beat
outcome    gathers the measurements, and derives verdict and figures
promotion  judges the candidate, and gives the reasons in words
smoke      checks what no candidate may fail at
"""
