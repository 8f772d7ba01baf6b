-- ARGV: connection, user, process, details (JSON), most per user, lease (microseconds). Returns {1 if it is registered}.
local sid, user, process, details, most, lease = unpack(ARGV)
if redis.call('ZCARD', key('user', user)) >= tonumber(most) then
  return { 0 }
end
redis.call('HSET', KEYS[1] .. ':details', sid, details)
redis.call('ZADD', KEYS[1] .. ':ids', 0, sid)
redis.call('ZADD', key('user', user), 0, sid)
redis.call('SADD', key('process', process), sid)
local leases, ends = KEYS[1] .. ':leases', now + lease
if ends > tonumber(redis.call('ZSCORE', leases, process) or 0) then
  redis.call('ZADD', leases, ends, process)
end
return { 1 }
