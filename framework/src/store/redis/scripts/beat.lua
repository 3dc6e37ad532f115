#!lua flags=allow-oom
-- Renews a lease, and tells who is overdue.
-- KEYS 1 members, 2 renewals.  ARGV 1 incarnation, 2 overdue after so many ms.
local head = redis.call('HMGET', KEYS[1], 's:' .. ARGV[1], 'version')
if not head[1] or head[1] == 'dead' or head[1] == 'left' then return {'DEAD'} end -- check: dead
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local overdue = {}
local late = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ARGV[2]), 'WITHSCORES')
for i = 1, #late, 2 do
  local status = redis.call('HGET', KEYS[1], 's:' .. late[i])
  if late[i] ~= ARGV[1] and status and status ~= 'dead' and status ~= 'left' then
    overdue[#overdue + 1] = late[i]
    overdue[#overdue + 1] = string.format('%.0f', now - tonumber(late[i + 1]))
  end
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
return {'ALIVE', head[2], string.format('%.0f', now), overdue}
