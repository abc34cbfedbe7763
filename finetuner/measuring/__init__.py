"""How good masks are on held-out images, and how sure that is.

evaluation    how good masks are on held-out objects, as they would be served
comparison    whether another model's masks are better, and how sure that is
calibration   whether a predicted IoU can be believed
forgetting    how well the candidate still draws other things
click_policy  which of SAM's masks answers one click in a project
"""
