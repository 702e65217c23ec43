"""Several processes as one server: the bus, its Redis, and the emitter for programs without a server."""
