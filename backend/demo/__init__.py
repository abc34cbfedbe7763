"""`samloop demo`: a real Label Studio with a sample project and everything beside it."""
