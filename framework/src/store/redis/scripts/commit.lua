#!lua
-- Applies what turns did. All checks come first, and one write ends it: an append-only file that was cut may hold half
-- of a script with two.
-- KEYS 1 entity, 2 life, 3 agenda, 4 letters.
-- ARGV 1 owner, 2 nonce, 3 epoch, 4 generation, 5 commit, 6 version, 7 wake or '', 8 id, 9 '1' with dead letters,
--   10 ... field, value, ...: what HSET is given, the head of the record included.
-- Answers the life alone, where it was applied: nearly all are.
local generation = redis.call('HGET', KEYS[2], 'g')
if not generation then return {'LIFE'} end
local head = redis.call('HMGET', KEYS[1], 'c', 'o', 'n', 'e', 'v')
if head[1] == ARGV[5] then return {'AGAIN', generation} end -- check: commit
if head[2] ~= ARGV[1] then return {'SUPERSEDED', generation} end -- check: owner
if head[3] ~= ARGV[2] or head[4] ~= ARGV[3] then return {'SUPERSEDED', generation} end -- check: nonce
if generation ~= ARGV[4] then return {'GENERATION', generation} end -- check: generation
if (head[5] or '0') ~= ARGV[6] then return {'STALE', generation} end -- check: version
if ARGV[7] ~= '' then
  local score = redis.call('ZSCORE', KEYS[3], ARGV[8])
  if not score or tonumber(score) > tonumber(ARGV[7]) then return {'HINT', generation} end -- check: agenda
end
if ARGV[9] == '1' and not redis.call('ZSCORE', KEYS[4], ARGV[8]) then return {'HINT', generation} end
redis.call('HSET', KEYS[1], unpack(ARGV, 10))
return generation
