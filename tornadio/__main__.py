"""``python -m tornadio URL`` is the command line client, see :mod:`tornadio.cli`."""

import sys

from tornadio.cli.program import main

sys.exit(main())
