"""From a task's URL to the picture that the annotator sees.

source       the bytes of a task's image, as far as the URL policy allows
folder       images in a folder on this machine, found by the addresses in an export
local_files  `/data/local-files/?d=...`: files below the folders that the user named
connections  where a project's Label Studio is
seen         addresses whose bytes were read a moment ago
memory       gives back what a large image took
picture      from a file's bytes to the picture that the annotator sees
"""
