-- What the guard asks: whether each session lives, and the version of its user's access. It writes nothing.
-- KEYS: the hash of adapters/redis/access_versions.py, then sessions, or none of them. ARGV: the user of each session.
-- Returns {run id of this server, run id in the hash, now in milliseconds, everyone's version, alive, versions, stable};
-- the last three have one value per session: 0 or 1, the user's version or nil, 0 or 1.
local stored = redis.call('HMGET', KEYS[1], 'run', 'nonce', 'changes', unpack(ARGV))
local known_run_id, everyones, changes = unpack(stored, 1, 3)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The users with a dirty mark that has not expired; `access_versions.lua` writes the lines.
local dirty = {}
for ends_at, users in string.gmatch(changes or '', '(%d+) %S+ ([^\n]*)') do
  if tonumber(ends_at) > now then
    for user in string.gmatch(users, '[^,]+') do
      dirty[user] = true
    end
  end
end

local alive, versions, stable = {}, {}, {}
for i, user in ipairs(ARGV) do
  local session = KEYS[i + 1]
  alive[i] = session and redis.call('HGET', session, 'run') == run_id and 1 or 0
  versions[i] = stored[i + 3]
  stable[i] = (dirty['*'] or dirty[user]) and 0 or 1
end
return { run_id, known_run_id, now, everyones, alive, versions, stable }
