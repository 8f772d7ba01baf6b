-- Give an attempt back, forget the failures, and know the device from now on.
-- KEYS: account, the account's known devices. ARGV: interval, device or '', how long it is known, most devices.
-- Returns {known devices}.
local interval, device, remembered, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local full_at = (tonumber(redis.call('HGET', KEYS[1], 'full_at')) or 0) - interval
if full_at > now then
  redis.call('HDEL', KEYS[1], 'failures', 'locked_until')
  redis.call('HSET', KEYS[1], 'full_at', full_at)
else
  redis.call('DEL', KEYS[1])
end

if device ~= '' then
  redis.call('ZADD', KEYS[2], now + remembered, device)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -(most + 1))
  keep(KEYS[2], remembered)
end
return { redis.call('ZCARD', KEYS[2]) }
