-- ARGV: change id, users.
mark(ARGV[3], ARGV[4])
move(ARGV[4])
save()
return {}
