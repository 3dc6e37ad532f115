#!lua flags=allow-oom
-- Gives a claim back. The epoch stays, unless nothing was ever committed: then the record goes.
-- KEYS 1 entity.  ARGV 1 owner, 2 nonce, 3 epoch.
local head = redis.call('HMGET', KEYS[1], 'o', 'n', 'e', 'v')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then return 0 end
if head[4] then
  redis.call('HSET', KEYS[1], 'o', '')
else
  redis.call('DEL', KEYS[1])
end
return 1
