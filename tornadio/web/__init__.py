"""HTTP: exchanges on Tornado's HTTP and on the fast path, origins and hosts, the script and the Flash policy."""
