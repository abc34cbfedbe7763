"""A real Label Studio with a sample project, and the whole loop walked through it."""
