"""The command line client, ``tornadio URL`` or ``python -m tornadio URL``: docs/client.rst describes it."""
