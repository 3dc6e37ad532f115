#!lua flags=allow-oom
-- Makes sure that the agenda or the index of letters names an entity: also when there is no room for commits.
-- KEYS 1 agenda or letters.  ARGV 1 score, 2 id.
return redis.call('ZADD', KEYS[1], 'LT', ARGV[1], ARGV[2])
