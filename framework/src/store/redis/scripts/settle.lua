#!lua flags=allow-oom
-- Makes an entry of the agenda name the time that the record does. Only here is one raised or removed.
-- KEYS 1 agenda, 2 entity.  ARGV 1 id.
local wake = redis.call('HGET', KEYS[2], 'w')
if not wake or wake == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local score = tonumber(wake)
-- Beyond 2^53 a score has no room for every number: rather too early than too late.
if score > 9007199254740992 then score = score - 4096 end
return redis.call('ZADD', KEYS[1], string.format('%.0f', score), ARGV[1])
