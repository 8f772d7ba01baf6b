-- Decide what becomes of a refresh token, and do it.
-- KEYS: set, session, the token that was shown, its successor. ARGV: as named here; times in microseconds.
-- Returns {outcome, wait, the session's fields and values}; the outcomes are those of domain.sessions.
local session_id, shown, shown_issued_at = ARGV[1], ARGV[2], tonumber(ARGV[3])
local fingerprint, successor = ARGV[4], ARGV[5]
local valid_from, idle, grace = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local interval, attempts = tonumber(ARGV[9]), tonumber(ARGV[10])

local function ended(outcome)
  end_session(session_id)
  return { outcome, 0, {} }
end

local function alive(outcome)
  return { outcome, 0, redis.call('HGETALL', KEYS[2]) }
end

if not is_alive(session_id) then
  return ended('unknown')
end
local current, previous, bound_to, issued_at, rotated_at, ends_at, full_at, opened_under = unpack(redis.call('HMGET',
  KEYS[2], 'current', 'previous', 'fingerprint', 'issued_at', 'rotated_at', 'ends_at', 'full_at', 'valid_from'))
issued_at, ends_at = tonumber(issued_at), tonumber(ends_at)
if ends_at <= now or tonumber(opened_under) < valid_from then
  return ended('unknown')
end
if bound_to ~= fingerprint then
  return ended('agent_changed')
end

if shown == current then
  local paid, wait = pay(full_at, now, interval, attempts)
  if not paid then
    return { 'throttled', wait, {} }
  end
  -- Whole seconds, as in the token. Never before its predecessor, though the clock may be set back: an older
  -- token is to be known by its time of issue.
  issued_at = math.max(now - now % 1000000, issued_at)
  local lifetime = math.min(idle, ends_at - now)
  redis.call('HSET', KEYS[2], 'current', successor, 'previous', shown, 'issued_at', issued_at,
    'rotated_at', now, 'last_seen_at', now, 'full_at', paid)
  redis.call('PEXPIRE', KEYS[2], math.ceil(lifetime / 1000))
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[4], 'session', session_id, 'agent', fingerprint, 'created_at', issued_at)
  redis.call('PEXPIRE', KEYS[4], math.ceil(lifetime / 1000))
  keep(KEYS[1], lifetime)
  return alive('rotated')
end

-- A second tab or a lost reply. With our own successor in place it is this very call that was lost, which even
-- no period of grace forgives.
if shown == previous and (current == successor or now - tonumber(rotated_at) < grace) then
  return alive('repeated')
end

-- Only older tokens of this session are in circulation, so a later one means that the server went back in time.
-- Nothing was stolen, but the token that it takes for the current one was used long ago and must not work again.
if shown_issued_at > issued_at then
  return ended('unknown')
end
return ended('reused')
