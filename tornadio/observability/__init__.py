"""For operators: the access log and the health check."""
