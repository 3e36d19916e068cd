"""What the latents of a trained `GlowModel` are good for.

- From one image to another: `interpolate`, `interpolate_path`, `interpolate_grid`,
  `blend`.
- Along an attribute: `attribute_directions`, `AttributeDirections`, `manipulate`.
- Level by level: `split_levels`, `sample_latents`, `resample_levels`, and the argument
  `levels` of others. Level 0 is the finest; the last, -1, is the coarsest.
- Is it memorised, or strange? `nearest_images`, `out_of_distribution_scores`, `roc`.
- What is in it? `linear_probe`, `class_log_likelihoods`.

Images are `uint8` as the model takes them, and come back as such. A latent is the flat
vector of `model.encode`, and standard normal if the model is right.
"""

from tfp_glow.latents.attributes import attribute_directions, manipulate
from tfp_glow.latents.classification import class_log_likelihoods, linear_probe
from tfp_glow.latents.directions import AttributeDirections
from tfp_glow.latents.interpolation import (
    blend,
    interpolate,
    interpolate_grid,
    interpolate_path,
    slerp,
)
from tfp_glow.latents.levels import resample_levels, sample_latents, split_levels
from tfp_glow.latents.neighbors import Neighbors, nearest_images
from tfp_glow.latents.out_of_distribution import (
    Roc,
    compressed_bits_per_dim,
    out_of_distribution_scores,
    roc,
)

__all__ = [
    "AttributeDirections",
    "Neighbors",
    "Roc",
    "attribute_directions",
    "blend",
    "class_log_likelihoods",
    "compressed_bits_per_dim",
    "interpolate",
    "interpolate_grid",
    "interpolate_path",
    "linear_probe",
    "manipulate",
    "nearest_images",
    "out_of_distribution_scores",
    "resample_levels",
    "roc",
    "sample_latents",
    "slerp",
    "split_levels",
]
