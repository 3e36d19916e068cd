"""`python -m tfp_glow.cli`, the same as `tfp-glow`."""

from tfp_glow.cli import console

if __name__ == "__main__":
    console()
