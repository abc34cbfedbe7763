"""From a task's URL to the picture that the annotator sees."""
