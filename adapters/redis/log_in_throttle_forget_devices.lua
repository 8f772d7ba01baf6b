-- KEYS: the account's known devices. ARGV: the device to keep, or ''. Returns {known devices}.
local known_until = redis.call('ZSCORE', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
if known_until then
  redis.call('ZADD', KEYS[1], known_until, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], left)
end
return { known_until and 1 or 0 }
