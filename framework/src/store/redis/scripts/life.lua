#!lua flags=allow-oom
-- Which life of the data this server is in: asked before anything else on a connection.
-- KEYS 1 life.  ARGV 1 a fresh random value below 1024.
-- Answers the life's value, and how it was found: same, restarted, missing.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local life = redis.call('HMGET', KEYS[1], 'g', 'r')
if life[1] and life[2] == run then return {life[1], 'same'} end
-- A later life has a greater value, also where the clock of this server is behind that of the one before it; and none comes
-- twice. Below 2^53, so that Lua keeps it whole.
local time = redis.call('TIME')
local fresh = (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + ARGV[1]
local before = tonumber(life[1] or '0')
if fresh <= before then fresh = before + 1024 + ARGV[1] end
local value = string.format('%.0f', fresh)
redis.call('HSET', KEYS[1], 'g', value, 'r', run)
return {value, life[1] and 'restarted' or 'missing'}
