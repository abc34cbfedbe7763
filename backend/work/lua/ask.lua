-- Want a piece of work.
--   KEYS: the counter `wanted`, the mark `waiting`, the mark `latest`
--   ARGV: prefix of RQ's job hashes, prefix of our job ids, 'patient' or 'enough', the wish's number (0: a new wish)
--   -> {number of the wish, id of the job that will serve it}
-- A waiting job counts only while it can still be seen to wait: its hash may not be written yet, or a worker may have
-- it already. While it is not written, who is patient gets no id and asks again: else every one of many requests at the
-- same time would make a job.
local generation = tonumber(ARGV[4])
if generation == 0 then
    generation = redis.call('INCR', KEYS[1])
end
local waiting = redis.call('GET', KEYS[2])
if waiting then
    local status = redis.call('HGET', ARGV[1] .. waiting, 'status')
    if status == 'queued' or status == 'rate_limited' then
        return {generation, waiting}
    end
    if not status and ARGV[3] == 'patient' then
        return {generation, ''}
    end
end
local id = ARGV[2] .. string.format('%d', generation)
redis.call('SET', KEYS[2], id)
redis.call('SET', KEYS[3], id)
return {generation, id}
