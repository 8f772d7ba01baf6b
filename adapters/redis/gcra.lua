-- The generic cell rate algorithm (ITU-T I.371): one number per bucket, `full_at`, the time at which the bucket will
-- be full again. An attempt moves it by `interval`; it is refused while more than `attempts` would be outstanding.
-- Whole microseconds, so that exactly `attempts` fit and no rounding takes the last one.

-- Return the new `full_at` and 0, or nil and how long to wait.
local function pay(full_at, now, interval, attempts)
  local after = math.max(tonumber(full_at) or now, now) + interval
  local wait = after - now - interval * attempts
  if wait > 0 then
    return nil, wait
  end
  return after, 0
end

-- Ask of each bucket of `keys` for one attempt; ARGV[first] and the one after it are the interval and the attempts of the
-- first bucket, and so on. Return what they would be afterwards, by key, and the longest wait.
local function pay_each(keys, first)
  local paid, longest_wait = {}, 0
  for i, key in ipairs(keys) do
    local interval, attempts = tonumber(ARGV[first + 2 * i - 2]), tonumber(ARGV[first + 2 * i - 1])
    local full_at, wait = pay(redis.call('GET', key), now, interval, attempts)
    paid[key] = full_at
    longest_wait = math.max(longest_wait, wait)
  end
  return paid, longest_wait
end

local function store(paid)
  for key, full_at in pairs(paid) do
    redis.call('SET', key, full_at, 'PX', math.ceil((full_at - now) / 1000))
  end
end
