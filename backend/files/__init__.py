"""Files and processes that survive a crash: durable writes, appended lines, watches, child processes."""
