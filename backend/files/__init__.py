"""Files and processes that survive a crash: durable writes, appended lines, watches, child processes.

durable     files that are whole or not there at all
locks       locks between processes, on files
json_lines  files of one JSON value a line that any number of processes append to
watch       a thread that looks at something again and again
children    processes that share the cores and do not outlive their parent
"""
