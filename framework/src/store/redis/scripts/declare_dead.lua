#!lua flags=allow-oom
-- Declares a silo dead that has missed its renewals.
-- KEYS 1 members, 2 renewals.  ARGV 1 incarnation, 2 how long they must be missing, in ms.
local head = redis.call('HMGET', KEYS[1], 's:' .. ARGV[1], 'version', 't:' .. ARGV[1])
if not head[1] or head[1] == 'left' then return 0 end
if head[1] == 'dead' then return 1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or head[3])
if now - last < tonumber(ARGV[2]) then return 0 end -- check: missed
local version = string.format('%.0f', math.max(tonumber(head[2]) + 1, now))
redis.call('HSET', KEYS[1], 'version', version, 's:' .. ARGV[1], 'dead', 't:' .. ARGV[1], string.format('%.0f', now))
return 1
