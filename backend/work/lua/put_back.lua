-- A job that was taken off the queue and never started lies in RQ's intermediate list: back to the front of the queue.
--   KEYS: the intermediate list, the queue's list, the job's hash, the mark of when it was first seen there
--   ARGV: the job's id
if redis.call('LREM', KEYS[1], 1, ARGV[1]) > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[1])
end
redis.call('DEL', KEYS[4])
