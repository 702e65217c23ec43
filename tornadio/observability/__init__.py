"""What an operator sees: log lines, the access log, the health check."""
