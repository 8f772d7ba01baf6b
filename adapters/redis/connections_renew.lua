-- ARGV: process, lease (microseconds; 0 ends it), most connections to close. Returns who left which room.
local process, lease, most = unpack(ARGV)
local leases = KEYS[1] .. ':leases'
redis.call('ZADD', leases, lease == '0' and 0 or now + lease, process)
local changes, left = {}, tonumber(most)
for _, dead in ipairs(redis.call('ZRANGE', leases, 0, now, 'BYSCORE')) do
  for _, sid in ipairs(redis.call('SRANDMEMBER', key('process', dead), left)) do
    close(sid, changes)
    left = left - 1
  end
  if redis.call('SCARD', key('process', dead)) > 0 then
    break -- more than one script should close: the next one goes on
  end
  redis.call('ZREM', leases, dead)
end
return changes
