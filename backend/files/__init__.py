"""Files and processes that survive a crash: durable writes, appended lines, watches, child processes.

durable      writes that leave a whole file or none
outputs      places for what commands make, looked at before the work
locks        locks between processes, on files
json_lines   files with one JSON value a line, to which any number of processes append
watch        a thread that repeats a look at something
children     processes that do not outlive their parent
own_process  how this process uses cores and memory, and computes
"""
