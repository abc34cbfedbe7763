"""Live evaluation: submitted annotations, compared with the masks they began with.

The map, from the door inwards:

    evaluation  what webhooks and answers tell, taken down; threads that compare in the background
    backlog     a project's annotations that wait to be compared
    comparing   one annotation against our masks
    sent        what clicks were answered, by region
    ledger      a project's comparisons as a file of lines
    lines       what a line says
    figures     the means over what counts
"""
