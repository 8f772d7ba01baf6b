-- Pay for one log-in attempt in three buckets, or in none.
-- KEYS: account, the account on this device, network, everyone, the account's known devices. ARGV: as named here,
-- then interval and attempts of each bucket. Returns {wait, locked, known}; nothing was paid if there is a wait.
local device, failures_before_lock, first_lock = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local known = (tonumber(redis.call('ZSCORE', KEYS[5], device)) or 0) > now
local account = known and KEYS[2] or KEYS[1]
local account_full_at, failures, locked_until =
  unpack(redis.call('HMGET', account, 'full_at', 'failures', 'locked_until'))

local paid, longest_wait = {}, 0
for i, full_at in ipairs({ account_full_at, redis.call('GET', KEYS[3]), redis.call('GET', KEYS[4]) }) do
  local wait
  paid[i], wait = pay(full_at, now, tonumber(ARGV[2 + 2 * i]), tonumber(ARGV[3 + 2 * i]))
  longest_wait = math.max(longest_wait, wait)
end
if longest_wait > 0 then
  return { longest_wait, 0, 0 }
end

redis.call('HSET', account, 'full_at', paid[1])
keep(account, paid[1] - now)
redis.call('SET', KEYS[3], paid[2], 'PX', math.ceil((paid[2] - now) / 1000))
redis.call('SET', KEYS[4], paid[3], 'PX', math.ceil((paid[3] - now) / 1000))

local locked = (tonumber(locked_until) or 0) > now
if not locked and (tonumber(failures) or 0) + 1 >= failures_before_lock then
  -- The next failure brings a lock, so this attempt holds it until it is settled: of two guesses at once, the
  -- second finds the account locked. If nobody settles it, the lock passes by itself.
  redis.call('HSET', account, 'locked_until', now + first_lock)
  keep(account, first_lock)
end
return { 0, locked and 1 or 0, known and 1 or 0 }
