"""`python -m tfp_glow.cli`, the same as `tfp-glow`."""

import sys

from tfp_glow.cli import main

if __name__ == "__main__":
    sys.exit(main())
