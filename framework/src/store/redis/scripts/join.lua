#!lua flags=allow-oom
-- Adds a silo.
-- KEYS 1 members.  ARGV 1 incarnation, 2 row, 3 partitions.
local head = redis.call('HMGET', KEYS[1], 'version', 'partitions', 's:' .. ARGV[1])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if head[2] and head[2] ~= ARGV[3] then return {'PARTITIONS', head[2]} end
-- The answer was lost, and this is the same one again. It revives nobody.
if head[3] then return {'OK', head[1], now} end -- check: revive
local version = string.format('%.0f', math.max(tonumber(head[1] or '0') + 1, tonumber(now)))
redis.call('HSET', KEYS[1], 'version', version, 'partitions', ARGV[3],
  'r:' .. ARGV[1], ARGV[2], 's:' .. ARGV[1], 'joining', 'j:' .. ARGV[1], version .. ':' .. now, 't:' .. ARGV[1], now)
return {'OK', version, now, head[1] and 'known' or 'new'}
