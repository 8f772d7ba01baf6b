-- ARGV: change id, users.
under_way[ARGV[3]] = nil
move(ARGV[4])
save()
return {}
