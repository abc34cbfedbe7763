"""What an annotator points at, read from Label Studio's JSON."""
