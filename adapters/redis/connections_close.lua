-- ARGV: connection. Returns who left which room.
local changes = {}
close(ARGV[1], changes)
return changes
