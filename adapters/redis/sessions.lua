-- What the scripts of one user's sessions share. KEYS[1] is always that user's set, `auth:sessions:<{user_id}>`.
--
-- A session names its current token and the set names the sessions, so their keys are known only once these have
-- been read, inside the atomic step; they cannot be declared in KEYS. That is sound on a Redis Cluster too: they
-- carry the same first pair of braces, hence lie in the slot of KEYS[1], and while that slot moves, the command is
-- redirected because of KEYS[1] before the script runs.
local user = string.sub(KEYS[1], #'auth:sessions:' + 1)

local function session_key(session_id)
  return 'auth:session:' .. user .. ':<{' .. session_id .. '}>'
end

local function refresh_key(token_id)
  return 'auth:refresh:' .. user .. ':<{' .. token_id .. '}>'
end

-- End a session: its hash, its token, its place in the set. Return 1 if it was alive, else 0.
local function end_session(session_id)
  local key = session_key(session_id)
  local current = redis.call('HGET', key, 'current')
  redis.call('ZREM', KEYS[1], session_id)
  if not current then
    return 0
  end
  redis.call('DEL', key, refresh_key(current))
  return 1
end

-- Return the ids of the living sessions, the oldest first. A session lives as long as its hash; the set has no
-- second opinion about that, it only forgets here what has expired.
local function living_sessions()
  local living = {}
  for _, session_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('EXISTS', session_key(session_id)) == 1 then
      living[#living + 1] = session_id
    else
      redis.call('ZREM', KEYS[1], session_id)
    end
  end
  return living
end
