-- ARGV: connection, room, most rooms. Returns {outcome, user, name}: 'unknown', 'full', 'joined' or 'present' before.
local sid, room, most = unpack(ARGV)
local details = details_of(sid)
if not details then
  return { 'unknown' }
end
local user = details.user
if redis.call('SISMEMBER', key('joined', sid), room) == 1 then
  return { 'present' }
end
if redis.call('SCARD', key('joined', sid)) >= tonumber(most) then
  return { 'full' }
end
redis.call('SADD', key('joined', sid), room)
redis.call('HSET', key('people', room), user.id, user.name)
if redis.call('HINCRBY', key('counts', room), user.id, 1) > 1 then
  return { 'present' }
end
return { 'joined', user.id, user.name }
