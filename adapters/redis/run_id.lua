-- The run id of this server: every start of every server has another one.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
