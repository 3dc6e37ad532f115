#!lua flags=allow-oom
-- Takes an entity without dead letters out of their index.
-- KEYS 1 letters, 2 entity.  ARGV 1 id.
local record = redis.call('HGETALL', KEYS[2])
for i = 1, #record, 2 do
  if string.sub(record[i], 1, 2) == 'l:' and record[i + 1] ~= '' then return 0 end
end
return redis.call('ZREM', KEYS[1], ARGV[1])
