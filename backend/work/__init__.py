"""The queue: trainings and refreshes on request, their progress, and the embedded server that holds them.

queue         asks for trainings, by the dotted name "finetuner.job.run"
automatic     asks for trainings after a number of changed annotations
train_after   how many changed annotations start a training, by project
follower      asks for refreshes, on request and after every promotion
jobs          which jobs may run at all
keys          the names of our keys in Redis
connection    the connections to Redis
status        how far a project's training or refresh is
scripts       Lua scripts that run within Redis
rq_internals  everything that leans on RQ's private keys, pinned by a contract test
losses        the loss curves of a running training, thinned
progress      a training's progress in words
embedded      runs a real Valkey as a child process
"""
