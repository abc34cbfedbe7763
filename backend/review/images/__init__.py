"""Images as people see them: whole, and all that a version learnt from or was measured on.

whole   a task's whole images, with all that is drawn on them
pages   the pages of both
learnt  the images of a version's training, as cards
"""
