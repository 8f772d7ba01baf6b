-- Open a session and end the oldest ones beyond the cap. Doing it twice is doing it once.
-- KEYS: set, session, refresh token. ARGV: as named here, then further fields and values of the session.
-- Returns {the session's fields and values, the ids of the sessions that were ended}.
local session_id, current, fingerprint = ARGV[1], ARGV[2], ARGV[3]
local cap, idle, absolute = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

if not is_alive(session_id) then
  -- Whole seconds, as in its tokens.
  local opened_at, lifetime = now - now % 1000000, math.min(idle, absolute)
  redis.call('HSET', KEYS[2], 'run', run_id, 'current', current, 'fingerprint', fingerprint, 'issued_at', opened_at,
    'created_at', opened_at, 'last_seen_at', opened_at, 'ends_at', opened_at + absolute, unpack(ARGV, 7))
  keep(KEYS[2], lifetime)
  redis.call('HSET', KEYS[3], 'session', session_id, 'agent', fingerprint, 'created_at', opened_at)
  keep(KEYS[3], lifetime)
  redis.call('ZADD', KEYS[1], opened_at, session_id)
  keep(KEYS[1], lifetime)
end

local living, ended = living_sessions(), {}
for i = 1, #living - cap do
  end_session(living[i])
  ended[i] = living[i]
end
return { redis.call('HGETALL', KEYS[2]), ended }
