-- ARGV: connection, room. Returns {who left}, or {}.
return { leave(ARGV[1], ARGV[2]) }
