-- Let go of the lease, if it is still ours.
--   KEYS: the lease, the mark that it is held
--   ARGV: what the lease holds while it is ours
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
