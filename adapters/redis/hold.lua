-- ARGV: change id, users. Returns {1} if the change is still under way, and longer now; else {0}.
local is_under_way = under_way[ARGV[3]]
if is_under_way then
  mark(ARGV[3], ARGV[4])
end
save()
return { is_under_way and 1 or 0 }
