#!lua
-- Applies what turns did. All checks come first, and one write ends it: an append-only file that was cut may hold half
-- of a script with two. Each word is a string more that Lua makes, so nothing is said twice.
-- KEYS 1 entity, 2 life; with a wake or dead letters 3 agenda, and with dead letters 4 letters.
-- ARGV 1 owner, 2 nonce, 3 epoch, 4 generation, 5 version;
--   6 ... field, value, ...: what HSET is given, first the head of the record: version (7), commit (9), wake or '' (11).
-- Answers the life alone, where it was applied: nearly all are.
local generation = redis.call('HGET', KEYS[2], 'g')
if not generation then return {'LIFE'} end
local head = redis.call('HMGET', KEYS[1], 'c', 'o', 'n', 'e', 'v')
if head[1] == ARGV[9] then return {'AGAIN', generation} end -- check: commit
if head[2] ~= ARGV[1] then return {'SUPERSEDED', generation} end -- check: owner
if head[3] ~= ARGV[2] or head[4] ~= ARGV[3] then return {'SUPERSEDED', generation} end -- check: nonce
if generation ~= ARGV[4] then return {'GENERATION', generation} end -- check: generation
if (head[5] or '0') ~= ARGV[5] then return {'STALE', generation} end -- check: version
if #KEYS > 2 then
  -- The agenda is 'grange:{C:P}:agenda', the entity 'grange:{C:P}:e:ID'.
  local id = string.sub(KEYS[1], #KEYS[3] - 3)
  if ARGV[11] ~= '' then
    local score = redis.call('ZSCORE', KEYS[3], id)
    if not score or tonumber(score) > tonumber(ARGV[11]) then return {'HINT', generation} end -- check: agenda
  end
  if #KEYS > 3 and not redis.call('ZSCORE', KEYS[4], id) then return {'HINT', generation} end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
return generation
