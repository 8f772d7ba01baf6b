-- Returns {the run id of the server, which the hash has now}.
save()
return { run_id }
