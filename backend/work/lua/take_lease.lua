-- Take the lease if nobody holds it.
--   KEYS: the lease, the fence, the mark that it is held
--   ARGV: the holder's name, ms until the lease runs out, ms for which a holder whose lease ran out may come back
--   -> the fencing token, 0 if somebody holds it, or may come back to it
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local mark = redis.call('GET', KEYS[3])
if mark then
    -- Nobody let go of it. Redis was away for longer than a lease lasts, or the holder is dead: those who live renew it.
    if mark == 'held' then redis.call('SET', KEYS[3], 'lapsed', 'PX', ARGV[3]) end
    return 0
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], string.format('%d', token) .. ':' .. ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[3], 'held')
return token
