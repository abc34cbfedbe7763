"""Label Studio's controls: from a drawn region to a mask, and from a mask to a region."""
