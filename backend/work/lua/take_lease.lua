-- Take the lease if nobody holds it.
--   KEYS: the lease, the fence
--   ARGV: the holder's name, ms until the lease runs out
--   -> the fencing token, 0 if somebody holds it
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], string.format('%d', token) .. ':' .. ARGV[1], 'PX', ARGV[2])
return token
