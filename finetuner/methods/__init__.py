"""Ways to change a base model; each can be exchanged for another (base.Method)."""
