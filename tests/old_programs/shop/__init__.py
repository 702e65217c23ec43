"""An application as a package: the router is made at import time in one module, and used in another."""
