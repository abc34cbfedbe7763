"""What the environment decides: one frozen Settings, a group for every part of the house.

The map, from the door inwards:

    root       Settings: all groups, read from the environment once, every fault told at once
    outside    groups: Label Studio, the backend's addresses and credentials, the registry, the queue
    answering  groups: the model, its caches, images, and how requests are answered
    learning   groups: trainings, and the predictions that are refreshed after them
    group      what a group is: its variables, its faults, the rows of the settings table
    parsing    from a variable's text to a value
    bounds     numbers and names that a value may be, for settings, command line and trainings alike
"""

from backend.settings.root import Settings, report_unknown_variables, settings_rows

__all__ = ["Settings", "report_unknown_variables", "settings_rows"]
