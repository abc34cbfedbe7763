"""Live evaluation: compares submitted annotations with the masks they began with.

The map, from the door inwards:

    evaluation  writes down webhooks and answers, and compares in background threads
    missed      makes up for webhooks that were lost
    deleted     finds deletions that no webhook reported
    lanes       works on several projects at once
    backlog     a project's annotations that wait for their comparison
    comparing   compares one annotation with our masks
    sent        keeps the regions that we sent in answer to clicks
    ledger      a project's comparisons, in a file of lines
    lines       the lines of a ledger, as values and as JSON
    figures     means over the comparisons that count
"""
