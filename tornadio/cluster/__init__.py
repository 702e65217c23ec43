"""Several processes as one server: the bus, the relay between it and a router, Redis as a bus, the emitters."""
