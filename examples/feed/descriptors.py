"""File descriptors: each connection takes one, and systems allow a process few of them unless it asks for more."""

ENOUGH = 65_536

try:
    import resource
except ImportError:  # Windows has no such limit

    def allow_many_descriptors() -> None:
        pass

else:

    def allow_many_descriptors() -> None:
        """Raise this process's limit as far as the system lets it."""
        limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if most == resource.RLIM_INFINITY else min(most, ENOUGH)
        if limit not in (resource.RLIM_INFINITY, wanted):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, wanted), most))
