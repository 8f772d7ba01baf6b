-- Shared by the scripts that write versions, after `run_id.lua`. Each first handles a loss of data, here, and calls `save` at the end.
-- KEYS[1] is the hash of adapters/redis/access_versions.py. ARGV: a nonce that was never used, the milliseconds after which
-- a dirty mark expires, then the arguments of the script itself.
local nonce, dirty_ttl = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Users with a version of their own, at most. Beyond it they are forgotten, and everyone's version moves instead.
local MAX_USERS = 10000

-- Lines `ends_at id users` by id; the users are ids and commas, or * for everyone. What has lapsed is left out.
local under_way = {}
for line in string.gmatch(redis.call('HGET', KEYS[1], 'changes') or '', '[^\n]+') do
  local ends_at, id = string.match(line, '^(%d+) (%S+)')
  if tonumber(ends_at) > now then
    under_way[id] = line
  end
end

local function mark(id, users)
  under_way[id] = string.format('%.0f %s %s', now + dirty_ttl, id, users)
end

local function save()
  local lines = {}
  for _, line in pairs(under_way) do
    lines[#lines + 1] = line
  end
  redis.call('HSET', KEYS[1], 'changes', table.concat(lines, '\n'))
end

local function move_everyone()
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'run', run_id, 'nonce', nonce)
end

local function move(users)
  if users == '*' then
    return move_everyone()
  end
  for user in string.gmatch(users, '[^,]+') do
    redis.call('HSET', KEYS[1], user, nonce)
  end
  if redis.call('HLEN', KEYS[1]) > MAX_USERS then
    move_everyone()
  end
end

-- With another run id, the server was restarted or is another one: it may lack the last writes of the one before.
-- Everyone is dirty until the changes that were in progress then are over.
if redis.call('HGET', KEYS[1], 'run') ~= run_id then
  move_everyone()
  mark(run_id, '*')
end
