"""Glow as TensorFlow Probability bijectors, trained with Keras 3."""

from tfp_glow.bijectors import (
    ActNormBijector,
    Glow,
    GlowAdditiveCoupling,
    GlowAffineCoupling,
    LUInvertibleConv,
    MultiScaleChain,
    Squeeze,
    initialize,
)
from tfp_glow.distributions import glow_distribution

__all__ = [
    "ActNormBijector",
    "Glow",
    "GlowAdditiveCoupling",
    "GlowAffineCoupling",
    "LUInvertibleConv",
    "MultiScaleChain",
    "Squeeze",
    "glow_distribution",
    "initialize",
]
