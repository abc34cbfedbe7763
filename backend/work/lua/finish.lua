-- A job has ended: every wish up to its own is served, and no failure stands any more.
--   KEYS: the counter `served`, the hash `last`
--   ARGV: the wish's number, the verdict as JSON
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[2], 'verdict', ARGV[2])
redis.call('HDEL', KEYS[2], 'error', 'failed', 'cancelled')
