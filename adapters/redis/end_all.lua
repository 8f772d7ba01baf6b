-- KEYS: set. ARGV: the id of the session to keep, or ''. Returns {how many were ended}.
local ended = 0
for _, session_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if session_id ~= ARGV[1] then
    ended = ended + end_session(session_id)
  end
end
return { ended }
