-- ARGV: room, user. Returns the connections of the user that are in the room.
local found = {}
for _, sid in ipairs(redis.call('ZRANGE', key('user', ARGV[2]), 0, -1)) do
  if redis.call('SISMEMBER', key('joined', sid), ARGV[1]) == 1 then
    found[#found + 1] = sid
  end
end
return found
