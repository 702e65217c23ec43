"""Compares `tornadio.connect` and `tornadio.sync.connect` with WebSocket clients above which the framing of
Socket.IO 0.6 is written by hand. `benchmarks/run.sh --clients` starts it."""
