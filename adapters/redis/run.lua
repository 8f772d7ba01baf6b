-- The run of this server: another one after each restart, and of each server another one.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
