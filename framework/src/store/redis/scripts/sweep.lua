#!lua flags=allow-oom
-- Deletes fields that still are tombstones.
-- KEYS 1 entity.  ARGV fields.
local values = redis.call('HMGET', KEYS[1], unpack(ARGV))
local gone = {}
for i = 1, #ARGV do
  if values[i] == '' then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
return redis.call('HDEL', KEYS[1], unpack(gone))
