"""The WebSocket framings (RFC 6455 and the drafts before it), sans-I/O: bytes in, messages and bytes out."""
