"""Live evaluation: compares submitted annotations with the masks they began with.

The map, from the door inwards:

    evaluation  writes down webhooks and answers, and compares in background threads
    missed      heals what webhooks missed
    deleted     finds deletions that no webhook told of
    lanes       works on several projects at once
    backlog     a project's annotations that wait for their comparison
    comparing   compares one annotation with our masks
    sent        keeps the regions that we sent in answer to clicks
    ledger      a project's comparisons, in a file of lines
    lines       the lines of a ledger, as values and as JSON
    figures     means over the comparisons that count
"""
