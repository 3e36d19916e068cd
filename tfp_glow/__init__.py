"""Glow as TensorFlow Probability bijectors, trained with Keras 3."""

from tfp_glow._start import waits_for_flow
from tfp_glow.version import __version__

if not waits_for_flow():
    from tfp_glow import (  # noqa: F401
        _allocator,
        _tensorflow,
        data,
        latents,
        pretrained,
    )
    from tfp_glow.adamax import Adamax
    from tfp_glow.bijectors import (
        ActNormBijector,
        Glow,
        GlowAdditiveCoupling,
        GlowAffineCoupling,
        LogisticMixtureCoupling,
        LUInvertibleConv,
        MultiScaleChain,
        Squeeze,
        initialize,
    )
    from tfp_glow.callbacks import (
        DivergenceGuard,
        EvaluateAverage,
        InvertibilityMonitor,
        TrainingState,
        averaged_weights,
    )
    from tfp_glow.dequantization import bits_per_dim, dequantize, quantize
    from tfp_glow.distributions import glow_distribution
    from tfp_glow.flow_model import FlowModel
    from tfp_glow.glow_model import GlowModel
    from tfp_glow.invertibility import check_invertibility
    from tfp_glow.openai import load_openai_checkpoint
    from tfp_glow.variational_dequantization import VariationalDequantizer

__all__ = [
    "ActNormBijector",
    "Adamax",
    "DivergenceGuard",
    "EvaluateAverage",
    "FlowModel",
    "Glow",
    "GlowAdditiveCoupling",
    "GlowAffineCoupling",
    "GlowModel",
    "InvertibilityMonitor",
    "LUInvertibleConv",
    "LogisticMixtureCoupling",
    "MultiScaleChain",
    "Squeeze",
    "TrainingState",
    "VariationalDequantizer",
    "__version__",
    "averaged_weights",
    "bits_per_dim",
    "check_invertibility",
    "data",
    "dequantize",
    "glow_distribution",
    "initialize",
    "latents",
    "load_openai_checkpoint",
    "pretrained",
    "quantize",
]
