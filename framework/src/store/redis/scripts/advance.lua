#!lua flags=allow-oom
-- Moves a living silo on.
-- KEYS 1 members.  ARGV 1 incarnation, 2 status.
local rank = {joining = 1, active = 2, draining = 3, dead = 4, left = 5}
local head = redis.call('HMGET', KEYS[1], 's:' .. ARGV[1], 'version')
local status = head[1]
if not status or status == 'dead' or status == 'left' or rank[status] >= rank[ARGV[2]] then return 0 end -- check: dead
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local version = string.format('%.0f', math.max(tonumber(head[2]) + 1, tonumber(now)))
redis.call('HSET', KEYS[1], 'version', version, 's:' .. ARGV[1], ARGV[2], 't:' .. ARGV[1], now)
return 1
