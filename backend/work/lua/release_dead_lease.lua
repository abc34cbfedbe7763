-- Let go of the lease of a holder that was killed, whatever its token was.
--   KEYS: the lease, the mark that it is held
--   ARGV: the holder's name
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+:(.*)$') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
