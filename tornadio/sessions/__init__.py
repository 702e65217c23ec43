"""A client's connection, whatever transport carries it: its states, its send queue, its callbacks; and the registry."""
