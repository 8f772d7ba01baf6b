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
