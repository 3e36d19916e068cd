"""The bijectors. In all of them `forward` is latent to image, `inverse` the paper's."""

from tfp_glow.bijectors.act_norm_bijector import ActNormBijector
from tfp_glow.bijectors.glow import Glow
from tfp_glow.bijectors.glow_additive_coupling import GlowAdditiveCoupling
from tfp_glow.bijectors.glow_affine_coupling import (
    GlowAffineCoupling,
    bounded_log_scale,
)
from tfp_glow.bijectors.glow_level import GlowLevel
from tfp_glow.bijectors.glow_step import GlowStep
from tfp_glow.bijectors.initialize import initialize, is_initialized
from tfp_glow.bijectors.logistic_mixture_coupling import LogisticMixtureCoupling
from tfp_glow.bijectors.lu_invertible_conv import LUInvertibleConv
from tfp_glow.bijectors.multi_scale_chain import MultiScaleChain
from tfp_glow.bijectors.squeeze import Squeeze
from tfp_glow.bijectors.top_prior import TopPrior

__all__ = [
    "ActNormBijector",
    "Glow",
    "GlowAdditiveCoupling",
    "GlowAffineCoupling",
    "GlowLevel",
    "GlowStep",
    "LUInvertibleConv",
    "LogisticMixtureCoupling",
    "MultiScaleChain",
    "Squeeze",
    "TopPrior",
    "bounded_log_scale",
    "initialize",
    "is_initialized",
]
