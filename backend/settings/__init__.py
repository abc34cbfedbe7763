"""The settings: one frozen Settings, read from the environment, with a group for every part of samloop.

The map, from the door inwards:

    root       Settings: all groups, read from the environment once; an error names every fault
    outside    groups: Label Studio, the backend's addresses and credentials, the registry, the queue
    answering  groups: the model, its caches, images, and how requests are answered
    learning   groups: trainings, and the predictions that are refreshed after them
    group      a group of settings: its variables, its faults, its rows in the tables of settings
    parsing    from a variable's text to a value
    bounds     the values that settings, commands and trainings allow
"""

from backend.settings.root import Settings, report_unknown_variables, settings_rows, settings_tables

__all__ = ["Settings", "report_unknown_variables", "settings_rows", "settings_tables"]
