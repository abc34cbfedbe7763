"""A real Label Studio with a sample project, and the whole loop walked through it.

command       `samloop demo`: to click through, or unattended
house         Label Studio and `samloop up` as child processes, all their data in one folder
label_studio  a real Label Studio as a child process
photographs   twenty sample photographs with known masks
project       the sample project: tasks, annotations as a person would submit them, a click
story         the whole loop on a real Label Studio
"""
