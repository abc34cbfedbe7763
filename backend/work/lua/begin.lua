-- A job begins: it serves every wish up to now.
--   KEYS: the counter `wanted`, the mark `waiting`, the counter `served`
--   ARGV: the job's id
--   -> {wanted, served}
-- The waiting mark is taken down in the step in which `wanted` is read: a later request queues a new job.
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[3])}
