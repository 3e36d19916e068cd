"""A training step of normflows' Glow, on PyTorch."""

import os

import normflows
import torch
from subject import LEARNING_RATE, Subject, smooth_images

__all__ = ["make_glow", "train"]


def train(
    *,
    event_shape: tuple[int, int, int],
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
    batch_size: int,
) -> Subject:
    """Loss, gradients and Adamax; act-norms initialise themselves in the first step."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = make_glow(event_shape, num_levels, num_steps, hidden_channels)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adamax(parameters, lr=LEARNING_RATE)
    images = torch.from_numpy(smooth_images(batch_size, event_shape))
    images = images.permute(0, 3, 1, 2).contiguous()  # [B, C, H, W]

    def call() -> float:
        optimizer.zero_grad()
        loss = model.forward_kld(images)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Subject(call, len(parameters), sum(p.numel() for p in parameters))


def make_glow(
    event_shape: tuple[int, int, int],
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
) -> torch.nn.Module:
    """The multi-scale flow of normflows' example `glow.ipynb`, without classes."""
    height, width, channels = event_shape
    bases, flows, merges = [], [], []
    for i in range(num_levels):  # the level farthest from the image comes first
        level = num_levels - i
        steps = [
            normflows.flows.GlowBlock(channels * 2 ** (level + 1), hidden_channels)
            for _ in range(num_steps)
        ]
        flows.append([*steps, normflows.flows.Squeeze()])
        latent_channels = channels * 2 ** (level + (i == 0))
        if i > 0:
            merges.append(normflows.flows.Merge())
        bases.append(
            normflows.distributions.GlowBase(
                (latent_channels, height // 2**level, width // 2**level)
            )
        )
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)
