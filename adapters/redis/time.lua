-- The time, in whole microseconds since 1970. It is the server's: the clocks of those who ask it may differ.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
