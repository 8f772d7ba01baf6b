-- The shared part of the scripts of one user's sessions, after `run_id.lua`. KEYS[1] is always that user's set, `auth:sessions:<{user_id}>`.
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

-- A session has the run id of the server that wrote it. A server that was restarted, restored from a copy or
-- replaced by its replica may have forgotten that the session was ended, so under another run id the session is over.
local function is_alive(session_id)
  return redis.call('HGET', session_key(session_id), 'run') == run_id
end

-- End a session: its hash, its token, its place in the set. Return 1 if it was alive, else 0.
local function end_session(session_id)
  local was_alive = is_alive(session_id)
  local current = redis.call('HGET', session_key(session_id), 'current')
  redis.call('ZREM', KEYS[1], session_id)
  if current then
    redis.call('DEL', session_key(session_id), refresh_key(current))
  end
  return was_alive and 1 or 0
end

-- Return the ids of the living sessions, the oldest first. A session lives as long as its hash; the set has no
-- second opinion about that, it only forgets here what is over.
local function living_sessions()
  local living = {}
  for _, session_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if is_alive(session_id) then
      living[#living + 1] = session_id
    else
      end_session(session_id)
    end
  end
  return living
end
