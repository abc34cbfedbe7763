"""What an annotator points at, read from Label Studio's JSON.

request     from an interactive request to one prompt for every object, in image px
marks       what one region of a request says: clicks, a box, or a mask
existing    the region on a task that a click lies in
rectangles  rectangles that stand on a task already: what a batch makes masks of
"""
