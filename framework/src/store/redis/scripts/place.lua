#!lua flags=allow-oom
-- Gives the partitions out anew.
-- KEYS 1 members.  ARGV 1 version, 2 slices.
local version = redis.call('HGET', KEYS[1], 'version')
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', tonumber(version) + 1), 'slices', ARGV[2])
return 1
