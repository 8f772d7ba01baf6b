-- Count a failure; lock the account if there were enough in a row.
-- KEYS: account. ARGV: failures before a lock, how long failures are remembered, then the ladder of locks.
-- Returns {failures in a row}.
local failures_before_lock, remembered = tonumber(ARGV[1]), tonumber(ARGV[2])
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local lock = 0
if failures >= failures_before_lock then
  local step = math.min(failures - failures_before_lock, #ARGV - 3)
  lock = tonumber(ARGV[3 + step])
  redis.call('HSET', KEYS[1], 'locked_until', now + lock)
end
keep(KEYS[1], lock + remembered)
return { failures }
