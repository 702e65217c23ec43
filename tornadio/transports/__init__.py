"""Socket.IO's transports, a module for each kind: requests in, sessions opened, payloads out."""
