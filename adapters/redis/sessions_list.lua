-- KEYS: set. Returns {id, fields and values} of each living session, the oldest first.
local sessions = {}
for i, session_id in ipairs(living_sessions()) do
  sessions[i] = { session_id, redis.call('HGETALL', session_key(session_id)) }
end
return sessions
