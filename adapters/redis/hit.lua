-- KEYS: bucket. ARGV: interval, attempts. Returns {wait}: 0 if the attempt was paid for.
local interval, attempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at, wait = pay(redis.call('GET', KEYS[1]), now, interval, attempts)
if full_at then
  redis.call('SET', KEYS[1], full_at, 'PX', math.ceil((full_at - now) / 1000))
end
return { wait }
