"""Comparisons of versions, and verdicts on them.

comparison  compares two models on the objects that both were measured on
trend       how versions compare on the objects that all of them were measured on
verdict     the last training's verdict, and whether a person has decided otherwise since
"""
