"""How good our masks are in people's hands: what was submitted, compared with what we had given.

evaluation  every submitted annotation that began with our masks is compared with them, in the background
comparing   one submitted annotation against the masks that it began with
sent        what we sent in answer to clicks, by region id
ledger      one project's comparisons as appended lines, and the running figures over them
backlog     submitted annotations that are still to be compared with the masks they began with
figures     how good a version's masks were in people's hands
lines       the lines of a ledger's file: what they say, as values and as JSON
"""
