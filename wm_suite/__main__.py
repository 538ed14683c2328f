"""`python -m wm_suite` is `wm`."""

import sys

from wm_suite.command import main

sys.exit(main())
