#!lua flags=no-writes
-- Who is to be woken.
-- KEYS agendas.  ARGV 1 until, 2 limit.
-- Answers those that are due, as partition's place among KEYS, wake, id, ...; and those whose entry names too early a
-- time, as place, id, ....
local until_ = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local entries = {}
for place, agenda in ipairs(KEYS) do
  local found = redis.call('ZRANGEBYSCORE', agenda, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #found, 2 do
    entries[#entries + 1] = {place, found[i], tonumber(found[i + 1])}
  end
end
table.sort(entries, function(a, b) return a[3] < b[3] end)
local due, early = {}, {}
for i = 1, math.min(#entries, limit) do
  local place, id, score = entries[i][1], entries[i][2], entries[i][3]
  -- '...:agenda' and '...:e:<id>': see keys.rs.
  local wake = redis.call('HGET', string.sub(KEYS[place], 1, -7) .. 'e:' .. id, 'w')
  if wake and wake ~= '' and tonumber(wake) <= until_ then
    due[#due + 1] = tostring(place)
    due[#due + 1] = wake
    due[#due + 1] = id
  else
    early[#early + 1] = tostring(place)
    early[#early + 1] = id
  end
end
return {due, early}
