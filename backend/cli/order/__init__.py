"""`order`: the order in which annotators label a project's tasks.

command  `samloop order`: looks at the tasks, and sets up Label Studio's tab and label stream
choice   chooses tasks: those that differ most, those of the lowest score, and a tenth at random
"""
