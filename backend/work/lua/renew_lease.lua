-- Hold the lease for longer.
--   KEYS: the lease, the fence, the mark that it is held
--   ARGV: what the lease holds while it is ours, our token, ms until the lease runs out
--   -> 1, or 0 if another run holds it or has held it since
-- A lease that ran out while nobody took it (Redis was away) is taken up again: the fence still stands at our token.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
if not held and redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[3], 'held')
return 1
