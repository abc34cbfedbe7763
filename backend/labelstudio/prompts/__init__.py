"""Reads what an annotator points at from Label Studio's JSON.

request     turns an interactive request into one prompt for every object, in image px
marks       turns one region of a request into clicks, a box, or a mask
existing    finds the region of a task that a click lies in
rectangles  reads the rectangles that are on a task already: a batch turns them into masks
"""
