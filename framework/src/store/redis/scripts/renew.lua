#!lua flags=allow-oom
-- A first renewal, before the row that it belongs to.
-- KEYS 1 renewals.  ARGV 1 incarnation.
local time = redis.call('TIME')
return redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
