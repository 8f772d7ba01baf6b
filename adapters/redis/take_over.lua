-- Returns {run}: the run of the server, which is the one that the hash names now.
save()
return { run }
