"""Sessions over HTTP: keys, log-in and log-out, and the devices that are logged in."""
