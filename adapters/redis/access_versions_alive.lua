-- KEYS: session. Returns {1 if it lives, else 0}.
return { redis.call('HGET', KEYS[1], 'run') == run_id and 1 or 0 }
