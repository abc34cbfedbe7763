-- No longer want what was asked for so far.
--   KEYS: the counter `wanted`, the mark `waiting`, the mark `cancelled`, the hash `last`
--   ARGV: when, in ISO 8601; '' if nothing waits or runs
-- The waiting mark is taken down in the same step: a later request must not count on a job that nobody wants.
redis.call('SET', KEYS[3], redis.call('GET', KEYS[1]) or '0')
redis.call('DEL', KEYS[2])
if ARGV[1] ~= '' then redis.call('HSET', KEYS[4], 'cancelled', ARGV[1]) end
