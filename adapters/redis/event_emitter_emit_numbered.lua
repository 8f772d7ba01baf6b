-- KEYS: the last number. ARGV: number, largest gap, time to live (milliseconds), channel, message.
-- Returns {the last number that is sent}.
local number, gap, ttl, channel, message = unpack(ARGV)
number = tonumber(number)
local last = tonumber(redis.call('GET', KEYS[1]) or '')
if last and number <= last then
  return { number }
end
if last and number > last + 1 and number <= last + gap then
  return { last }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
redis.call('PUBLISH', channel, message)
return { number }
