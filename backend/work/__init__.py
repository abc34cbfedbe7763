"""The queue: what is asked for, how far it is, and the embedded server that holds it.

queue         trainings on request, by the dotted name "finetuner.job.run"
automatic     trainings after so many changed annotations
train_after   after how many, by project
follower      refreshes on request and after every promotion
jobs          which jobs may run at all
keys          the names in Redis
connection    the connections to Redis
status        where a project's training or refresh is
scripts       Lua scripts that run within Redis
rq_internals  RQ's private books, pinned by a contract test
losses        the losses of a training under way, thinned
progress      how far a training is, in words
embedded      a real Valkey as a child process
"""
