"""How good our masks are in people's hands: what was submitted, compared with what we had given."""
