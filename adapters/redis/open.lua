-- Open a session and end the oldest ones beyond the cap. Doing it twice is doing it once.
-- KEYS: set, session, refresh token. ARGV: session id, cap, lifetime, created at, fingerprint, then the session's
-- fields and values. Returns the ids of the sessions that were ended.
local session_id, cap, lifetime, created_at, fingerprint =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

redis.call('HSET', KEYS[2], unpack(ARGV, 6))
keep(KEYS[2], lifetime)
redis.call('HSET', KEYS[3], 'session', session_id, 'agent', fingerprint, 'created_at', created_at)
keep(KEYS[3], lifetime)
redis.call('ZADD', KEYS[1], created_at, session_id)
keep(KEYS[1], lifetime)

local living, ended = living_sessions(), {}
for i = 1, #living - cap do
  end_session(living[i])
  ended[i] = living[i]
end
return ended
