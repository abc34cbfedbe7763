"""A real Label Studio with a sample project, and the whole loop on it.

command       `samloop demo`: by hand or unattended
guide         where to click, and what every step should show
house         Label Studio and `samloop up` as child processes, all their data in one folder
label_studio  a real Label Studio as a child process
nuclei        the sample of microscopy images, with known masks
photographs   the sample of twenty photographs, with known masks
samples       the type of a set of samples
sets          the sets of samples, by name
project       the sample project: its tasks, annotations and clicks
story         walks through the whole loop on a real Label Studio
"""
