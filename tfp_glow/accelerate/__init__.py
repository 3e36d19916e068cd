"""Trains a `GlowModel` where there is an accelerator and JAX, but no TensorFlow.

`python -m tfp_glow.accelerate export PRESET BUNDLE` writes the steps of training and
evaluation as StableHLO, what XLA compiles, beside a program that runs them with JAX
alone; `data` writes images in pieces; `import` makes a run folder of what came back.
"""
