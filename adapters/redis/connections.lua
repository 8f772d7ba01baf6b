-- What the scripts of the registry of connections share. KEYS[1] is `realtime:{connections}`, which every other key
-- begins with: they are known only once others have been read, and lie in its slot.
local function key(kind, id)
  return KEYS[1] .. ':' .. kind .. ':' .. id
end

local function details_of(sid)
  local details = redis.call('HGET', KEYS[1] .. ':details', sid)
  return details and cjson.decode(details)
end

-- Take a connection out of a room. Return {room, user, name} if the user is not there any more.
local function leave(sid, room)
  if redis.call('SREM', key('joined', sid), room) == 0 then
    return nil
  end
  local user = details_of(sid).user
  if redis.call('HINCRBY', key('counts', room), user.id, -1) > 0 then
    return nil
  end
  redis.call('HDEL', key('counts', room), user.id)
  redis.call('HDEL', key('people', room), user.id)
  return { room, user.id, user.name }
end

-- Remove a connection. Append to `changes` what `leave` returns.
local function close(sid, changes)
  local details = details_of(sid)
  if not details then
    return
  end
  for _, room in ipairs(redis.call('SMEMBERS', key('joined', sid))) do
    changes[#changes + 1] = leave(sid, room)
  end
  redis.call('HDEL', KEYS[1] .. ':details', sid)
  redis.call('ZREM', KEYS[1] .. ':ids', sid)
  redis.call('ZREM', key('user', details.user.id), sid)
  redis.call('SREM', key('process', details.process), sid)
end
