-- KEYS: set. Returns {how many sessions were ended}.
local ended = 0
for _, session_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  ended = ended + end_session(session_id)
end
return { ended }
