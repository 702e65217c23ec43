"""The live page for operators, :class:`tornadio.MonitorHandler`: access, samples, the table of connections, actions."""
