#!lua flags=allow-oom
-- Removes fields without a turn, and sets the wake time: with one write.
-- KEYS 1 entity, 2 life, 3 agenda.
-- ARGV 1 owner, 2 nonce, 3 epoch, 4 generation, 5 version, 6 wake or '', 7 id, 8 how many fields are removed,
--   9 ... those, then fields that are removed only if they are tombstones.
-- Answers OK: removed; MARKED: tombstones were written instead, and nothing was swept.
local generation = redis.call('HGET', KEYS[2], 'g')
if not generation then return {'LIFE'} end
local head = redis.call('HMGET', KEYS[1], 'o', 'n', 'e', 'v', 'w')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then return {'SUPERSEDED', generation} end
if generation ~= ARGV[4] then return {'GENERATION', generation} end
if (head[4] or '0') ~= ARGV[5] then return {'STALE', generation} end -- check: overtaken
if not head[4] then return {'OK', generation} end
local wake, removed = ARGV[6], tonumber(ARGV[8])
if wake ~= '' then
  local score = redis.call('ZSCORE', KEYS[3], ARGV[7])
  if not score or tonumber(score) > tonumber(wake) then return {'HINT', generation} end
end
if wake ~= '' and wake ~= head[5] then
  local marks = {'w', wake}
  for i = 9, 8 + removed do
    marks[#marks + 1] = ARGV[i]
    marks[#marks + 1] = ''
  end
  redis.call('HSET', KEYS[1], unpack(marks))
  return {'MARKED', generation}
end
local gone = {}
for i = 9, #ARGV do
  if i <= 8 + removed or redis.call('HGET', KEYS[1], ARGV[i]) == '' then gone[#gone + 1] = ARGV[i] end
end
if wake == '' then gone[#gone + 1] = 'w' end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
return {'OK', generation}
