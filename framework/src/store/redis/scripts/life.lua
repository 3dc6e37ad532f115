#!lua flags=allow-oom
-- Which life of the data this server is in: asked before anything else on a connection.
-- KEYS 1 life.  ARGV 1 a fresh random value.
-- Answers the life's value, and how it was found: same, restarted, missing.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local life = redis.call('HMGET', KEYS[1], 'g', 'r')
if life[1] and life[2] == run then return {life[1], 'same'} end
redis.call('HSET', KEYS[1], 'g', ARGV[1], 'r', run)
return {ARGV[1], life[1] and 'restarted' or 'missing'}
