"""``python -m atpn`` is ``atpn``."""

import sys

from atpn.cli import main

sys.exit(main())
