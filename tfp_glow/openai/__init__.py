"""Checkpoints of openai/glow, the paper's own code, as models of this package."""

from tfp_glow.openai.loader import load_openai_checkpoint

__all__ = ["load_openai_checkpoint"]
