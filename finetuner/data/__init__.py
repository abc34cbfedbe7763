"""From Label Studio's tasks to samples: objects, images, splits, and prompts to learn from."""
