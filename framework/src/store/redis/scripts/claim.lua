#!lua flags=allow-oom
-- Makes the asker the owner and reads the record.
-- KEYS 1 entity, 2 life.  ARGV 1 owner, 2 nonce, 3 an owner that may be taken over, or ''.
local generation = redis.call('HGET', KEYS[2], 'g')
if not generation then return {'LIFE'} end
local held = redis.call('HMGET', KEYS[1], 'o', 'e')
local owner = held[1] or ''
if owner ~= '' and owner ~= ARGV[1] and owner ~= ARGV[3] then return {'TAKEN', generation, owner} end -- check: taken
-- By this server's clock: silos' clocks differ, and after a lost tail only time is above what was granted.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = string.format('%.0f', math.max(tonumber(held[2] or '0') + 1, now))
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'n', ARGV[2], 'e', epoch)
return {'OK', generation, redis.call('HGETALL', KEYS[1])}
