"""A real Label Studio with a sample project, and the whole loop walked through it.

command       `samloop demo`: to click through, or unattended
guide         where to click, and what each step should show
house         Label Studio and `samloop up` as child processes, all their data in one folder
label_studio  a real Label Studio as a child process
nuclei        the sample of microscopy images, with known masks
photographs   the sample of twenty photographs, with known masks
samples       what a set of samples is
sets          the sets of samples, by name
project       the sample project: tasks, annotations as a person would submit them, a click
story         the whole loop on a real Label Studio
"""
