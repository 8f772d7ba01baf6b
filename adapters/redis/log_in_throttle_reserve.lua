-- Pay for one log-in attempt in every bucket that counts it, or in none.
-- KEYS: the account's known devices, the account, the account on this device, this device, the networks, everyone.
-- ARGV: as named here, then interval and attempts of the account, of this device, and of each that follows it in KEYS.
-- Returns {wait, locked, known}; nothing was paid if there is a wait.
local device, failures_before_lock, first_lock = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- A known device pays in buckets of its own and in no other, so that others cannot empty them.
local known = (tonumber(redis.call('ZSCORE', KEYS[1], device)) or 0) > now
local account = known and KEYS[3] or KEYS[2]
local account_full_at, failures, locked_until =
  unpack(redis.call('HMGET', account, 'full_at', 'failures', 'locked_until'))

local account_paid, account_wait = pay(account_full_at, now, tonumber(ARGV[4]), tonumber(ARGV[5]))
local paid, wait
if known then
  paid, wait = pay_each({ KEYS[4] }, 6)
else
  paid, wait = pay_each({ unpack(KEYS, 5) }, 8)
end
wait = math.max(wait, account_wait)
if wait > 0 then
  return { wait, 0, 0 }
end

redis.call('HSET', account, 'full_at', account_paid)
keep(account, account_paid - now)
store(paid)

local locked = (tonumber(locked_until) or 0) > now
if not locked and (tonumber(failures) or 0) + 1 >= failures_before_lock then
  -- The next failure brings a lock, so this attempt holds it until its result is known: of two guesses at once, the
  -- second finds the account locked. If the result never comes, the lock expires.
  redis.call('HSET', account, 'locked_until', now + first_lock)
  keep(account, first_lock)
end
return { 0, locked and 1 or 0, known and 1 or 0 }
