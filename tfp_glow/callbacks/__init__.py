"""Keras callbacks for the training of flows."""

from tfp_glow.callbacks.divergence_guard import DivergenceGuard
from tfp_glow.callbacks.evaluate_average import EvaluateAverage, averaged_weights
from tfp_glow.callbacks.invertibility_monitor import InvertibilityMonitor
from tfp_glow.callbacks.training_state import TrainingState

__all__ = [
    "DivergenceGuard",
    "EvaluateAverage",
    "InvertibilityMonitor",
    "TrainingState",
    "averaged_weights",
]
