-- The run of this server as a master, for servers that replace each other. One that was master, replica and master again
-- without a restart may lack what its successor did meanwhile, so each promotion begins another run.
local replication = redis.call('INFO', 'replication')
if not string.find(replication, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
-- With `min-replicas-to-write` a master that sees no replica any more may have been replaced: it takes no writes, and is
-- not believed either.
if string.find(replication, 'min_slaves_good_slaves:0', 1, true) then
  return redis.error_reply('NOREPLICAS this master may have been replaced')
end
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. string.match(replication, 'master_replid:(%x+)')
