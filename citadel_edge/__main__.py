"""``python -m citadel_edge`` is ``citadel-edge``."""

import sys

from citadel_edge.cli.main import main

sys.exit(main())
