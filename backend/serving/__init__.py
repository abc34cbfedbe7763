"""From a task to masks: what answers clicks and batches, and what is loaded to do so. No HTTP."""
