"""The training itself: steps, losses, weights, and when it ends."""
