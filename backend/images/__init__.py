"""From a task's URL to the image that the annotator sees.

source       fetches the bytes of a task's image from the addresses that the URL policy allows
folder       images in a folder on this machine, looked up by the addresses in an export
local_files  `/data/local-files/?d=...`: files below the folders that the user named
known_projects  whether Label Studio has a project
connections  which Label Studio a project belongs to
seen         remembers the digests of images that were read a moment ago
memory       gives freed memory back to the system
picture      decodes a file's bytes into the image that the annotator sees
"""
