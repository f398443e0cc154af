"""`python -m fastclient` is the `fastclient` command."""

import sys

from fastclient.cli import main

sys.exit(main())
