-- KEYS: set. ARGV: session id. Returns {1} if the session was alive.
return { end_session(ARGV[1]) }
