-- KEYS: set, session. ARGV: session id. Returns the fields and values of the session if it is alive.
return is_alive(ARGV[1]) and redis.call('HGETALL', KEYS[2]) or {}
