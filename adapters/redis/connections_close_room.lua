-- ARGV: room, most users whose connections leave it. Returns {how many users are left}.
local room, most = unpack(ARGV)
for _, user in ipairs(redis.call('HRANDFIELD', key('counts', room), most)) do
  for _, sid in ipairs(redis.call('ZRANGE', key('user', user), 0, -1)) do
    redis.call('SREM', key('joined', sid), room)
  end
  redis.call('HDEL', key('counts', room), user)
  redis.call('HDEL', key('people', room), user)
end
return { redis.call('HLEN', key('counts', room)) }
