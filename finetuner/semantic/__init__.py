"""The semantic head's training: what every cell of an image is, how a head learns it, how good it is."""
