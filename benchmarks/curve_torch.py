"""normflows' Glow, whose training is followed."""

import os

import numpy as np
import torch
from curve_loop import Trainee, follow
from normflows_contender import make_glow
from subject import Subject

__all__ = ["normflows"]


def normflows(
    *, event_shape: tuple[int, int, int], model: dict[str, int], **arguments: object
) -> Subject:
    """A model of the same levels, steps and width."""

    def make() -> Trainee:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(0)
        glow = make_glow(
            event_shape,
            model["num_levels"],
            model["num_steps"],
            model["hidden_channels"],
        )
        parameters = list(glow.parameters())
        averages = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.Adamax(parameters, lr=0.0)

        def as_tensor(images: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

        def step(images: np.ndarray, learning_rate: float) -> float:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.zero_grad()
            loss = glow.forward_kld(as_tensor(images))
            loss.backward()
            optimizer.step()
            return loss.item()

        @torch.no_grad()
        def negative_log_likelihood(images: np.ndarray) -> np.ndarray:
            return -glow.log_prob(as_tensor(images), None).numpy()

        @torch.no_grad()
        def average(momentum: float) -> None:
            for old, new in zip(averages, parameters, strict=True):
                old.lerp_(new, 1 - momentum)

        @torch.no_grad()
        def swap() -> None:
            for one, other in zip(averages, parameters, strict=True):
                value = one.clone()
                one.copy_(other)
                other.copy_(value)

        def changing() -> list[torch.Tensor]:
            # State of the act-norms says whether they are initialised.
            slots = [v for p in parameters for v in optimizer.state[p].values()]
            return [*glow.state_dict().values(), *averages, *slots]

        @torch.no_grad()
        def restore(state: list[np.ndarray]) -> None:
            for tensor, value in zip(changing(), state, strict=True):
                tensor.copy_(torch.from_numpy(value))

        return Trainee(
            step=step,
            negative_log_likelihood=negative_log_likelihood,
            average=average,
            swap=swap,
            state=lambda: [v.detach().numpy().copy() for v in changing()],
            restore=restore,
            num_parameters=sum(p.numel() for p in parameters),
        )

    return follow(make, **arguments)
