"""The six transports, one module for each kind: requests in, sessions opened, payloads out."""
