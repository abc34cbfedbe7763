"""The training itself: steps, losses, weights, and when it ends.

run             one training from its first step to its last
loop            the loop: an image a step or several; it yields its steps
rounds          what a step asks of its images, and what it learns from the answers
losses          losses by name, for every object and mask
weights         the weights that move, their moving average, and the optimizer's memory of them
start           which weights a training begins with
replay          steps on photographs of other things, against forgetting
curves          how a training went
early_stopping  when to stop, and which weights to keep
processes       several processes, one a GPU, that train one model together
"""
