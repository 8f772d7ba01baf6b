-- Pay for one use in every bucket, or in none.
-- KEYS: buckets. ARGV: interval and attempts of each. Returns {wait}: 0 if the use was paid for.
local paid, wait = pay_each(KEYS, 1)
if wait == 0 then
  store(paid)
end
return { wait }
