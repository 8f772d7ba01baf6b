-- Keep `key` for at least `microseconds` more; never shorten its life.
local function keep(key, microseconds)
  local milliseconds = math.max(1, math.ceil(microseconds / 1000))
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end
