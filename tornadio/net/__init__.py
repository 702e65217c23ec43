"""Bytes, time and tasks on asyncio: sockets, lingering close, timers, locks, addresses."""
