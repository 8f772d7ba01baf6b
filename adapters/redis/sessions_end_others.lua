-- KEYS: set, the session to keep. ARGV: its id, and from when its user's sessions are valid now.
-- Returns {how many others were ended}.
local ended = 0
for _, session_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if session_id ~= ARGV[1] then
    ended = ended + end_session(session_id)
  end
end
if is_alive(ARGV[1]) then
  redis.call('HSET', KEYS[2], 'valid_from', ARGV[2])
end
return { ended }
