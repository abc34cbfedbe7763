"""How good masks are on held-out images, and how sure that is."""
