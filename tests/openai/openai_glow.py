"""openai/glow in numpy: writes checkpoints of any architecture, and evaluates them.

Written from the description of openai/glow's mathematics alone, variable by variable
and in float64, to be compared with the package. Nothing here is fast.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

Variables = dict[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """An architecture, in the terms of openai/glow's command line."""

    image_size: int = 8
    channels: int = 3
    n_levels: int = 2
    depth: int = 1
    width: int = 4
    flow_permutation: int = 2
    flow_coupling: int = 1
    lu: bool = False
    learntop: bool = True
    n_y: int = 0
    classifier: bool = False
    n_bits_x: int = 8
    seed: int = 0

    arguments: dict = field(init=False, default_factory=dict)

    def __post_init__(self):
        self.arguments.update(image_size=self.image_size, num_bits=self.n_bits_x)


def make_variables(config: Config) -> Variables:
    """Variables far from their initial values, by the names of openai/glow."""
    rng = np.random.default_rng(config.seed)
    variables = {}

    def put(name: str, *shape: int, scale: float = 0.1) -> None:
        value = rng.normal(scale=scale, size=shape)
        variables[name] = value.astype(np.float32)

    def put_conv2d_zeros(name: str, c_in: int, c_out: int) -> None:
        put(f"{name}/W", 3, 3, c_in + 1, c_out, scale=0.05)
        put(f"{name}/b", 1, 1, 1, c_out)
        put(f"{name}/logs", 1, c_out)

    def put_linear_zeros(name: str, c_in: int, c_out: int) -> None:
        put(f"{name}/W", c_in, c_out)
        put(f"{name}/b", 1, c_out)
        put(f"{name}/logs", 1, c_out)

    def put_permutation(name: str, c: int) -> None:
        if config.flow_permutation == 1:
            order = rng.permutation(c).astype(np.int32)
            variables[f"{name}/shuffle/indices"] = order
            inverse = np.argsort(order).astype(np.int32)
            variables[f"{name}/shuffle/indices_inverse"] = inverse
        elif config.flow_permutation == 2 and config.lu:
            permutation = np.eye(c, dtype=np.float32)[rng.permutation(c)]
            variables[f"{name}/invconv/P"] = permutation
            signs = rng.choice([-1, 1], c).astype(np.float32)
            variables[f"{name}/invconv/sign_S"] = signs
            put(f"{name}/invconv/L", c, c)
            put(f"{name}/invconv/U", c, c)
            put(f"{name}/invconv/log_S", c)
        elif config.flow_permutation == 2:
            rotation = np.linalg.qr(rng.normal(size=[c, c]))[0]
            matrix = rotation + rng.normal(scale=0.05, size=[c, c])
            variables[f"{name}/invconv/W"] = matrix.astype(np.float32)

    c, w = 4 * config.channels, config.width
    for i in range(config.n_levels):
        for k in range(config.depth):
            step = f"{i}/{k}"
            put(f"{step}/actnorm_center/b", 1, 1, 1, c)
            put(f"{step}/actnorm_scale/logs", 1, 1, 1, c)
            put_permutation(step, c)
            put(f"{step}/f1/l_1/W", 3, 3, c // 2 + 1, w)
            put(f"{step}/f1/l_2/W", 1, 1, w, w, scale=0.5)
            for layer in ("l_1", "l_2"):
                put(f"{step}/f1/{layer}/actnorm_center/b", 1, 1, 1, w)
                put(f"{step}/f1/{layer}/actnorm_scale/logs", 1, 1, 1, w)
            put_conv2d_zeros(
                f"{step}/f1/l_last", w, c if config.flow_coupling else c // 2
            )
        if i < config.n_levels - 1:
            put_conv2d_zeros(f"pool{i}/conv", c // 2, c)
            c *= 2
    if config.learntop:
        put_conv2d_zeros("prior/p", 2 * c, 2 * c)
    if config.n_y:
        put_linear_zeros("prior/y_emb", config.n_y, 2 * c)
    if config.classifier:
        put_linear_zeros("classifier", c, config.n_y)
    return variables


def write_checkpoint(
    folder: Path,
    variables: Variables,
    *,
    slots: bool = True,
    name: str = "model_best_loss.ckpt",
    **others: np.ndarray,
) -> str:
    """Writes what `tf.train.Saver` of TensorFlow 1 does, slots and averages too.

    Args:
        folder: Folder to write into.
        variables: Variables of the model.
        slots: Whether there are moving averages and the optimizer's variables.
        name: Name of the checkpoint.
        **others: Variables besides, by their full names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {f"model/{key}": value for key, value in variables.items()}
    trained = [key for key in values if is_trained(key)]
    for n, key in enumerate(trained if slots else []):
        values[f"{key}/ExponentialMovingAverage"] = values[key] * np.float32(0.9)
        values[f"Variable_{2 * n + 1}"] = np.zeros_like(values[key])
        values[f"Variable_{2 * n + 2}"] = np.zeros_like(values[key])
        values["Variable"] = np.float32(7)
    values |= others
    path = str(folder / name)
    tf.raw_ops.SaveV2(
        prefix=path,
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
    state = f'model_checkpoint_path: "/logs/of/another/machine/{name}"\n'
    (folder / "checkpoint").write_text(state)
    return path


def is_trained(name: str) -> bool:
    return name.rpartition("/")[2] not in ("indices", "indices_inverse", "P", "sign_S")


def evaluate(
    config: Config, variables: Variables, z: np.ndarray, y: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`bits_x` and `bits_y` of each image, and `eps`, flat."""
    v = {key: value.astype(np.float64) for key, value in variables.items()}
    batch, num_dims = len(z), np.prod(z.shape[1:])
    objective = np.full(batch, -np.log(2.0**config.n_bits_x) * num_dims)
    eps = []
    z = squeeze(z)
    for i in range(config.n_levels):
        for k in range(config.depth):
            z, change = step(config, v, f"{i}/{k}", z)
            objective += change
        if i < config.n_levels - 1:
            z, z2 = np.split(z, 2, axis=-1)
            h = conv2d_zeros(v, f"pool{i}/conv", z)
            standardise(z2, h[..., 0::2], h[..., 1::2], eps, objective)
            z = squeeze(z)
    c = z.shape[-1]
    h = np.zeros([batch, *z.shape[1:3], 2 * c])
    if config.learntop:
        h = conv2d_zeros(v, "prior/p", h)
    if config.n_y:
        one_hot = np.eye(config.n_y)[y]
        h = h + linear_zeros(v, "prior/y_emb", one_hot)[:, None, None]
    standardise(z, h[..., :c], h[..., c:], eps, objective)
    bits_y = np.zeros(batch)
    if config.classifier:
        logits = linear_zeros(v, "classifier", z.mean(axis=(1, 2)))
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        bits_y = -log_p[np.arange(batch), y] / np.log(2)
    return {
        "bits_x": -objective / (np.log(2) * num_dims),
        "bits_y": bits_y,
        "eps": np.concatenate(eps, axis=-1),
    }


def standardise(z, mean, logs, eps, objective):
    """Appends the eps of a part, and adds its log-density to the objective."""
    e = (z - mean) / np.exp(logs)
    eps.append(e.reshape(len(z), -1))
    log_density = -0.5 * (np.log(2 * np.pi) + 2 * logs + e**2)
    objective += log_density.sum(axis=(1, 2, 3))


def step(config: Config, v: Variables, name: str, z: np.ndarray):
    """One step of flow, and what it adds to the objective."""
    num_pixels = z.shape[1] * z.shape[2]
    logs = 3 * v[f"{name}/actnorm_scale/logs"]
    z = (z + v[f"{name}/actnorm_center/b"]) * np.exp(logs)
    change = num_pixels * logs.sum()
    if config.flow_permutation == 0:
        z = z[..., ::-1]
    elif config.flow_permutation == 1:
        z = z[..., v[f"{name}/shuffle/indices"].astype(int)]
    else:
        matrix = matrix_of(v, f"{name}/invconv")
        z = z @ matrix
        change += num_pixels * np.linalg.slogdet(matrix)[1]
    z1, z2 = np.split(z, 2, axis=-1)
    h = z1
    for layer, convolve in (("l_1", conv3x3), ("l_2", conv1x1)):
        prefix = f"{name}/f1/{layer}"
        h = convolve(h, v[f"{prefix}/W"]) + v[f"{prefix}/actnorm_center/b"]
        h = np.maximum(h * np.exp(3 * v[f"{prefix}/actnorm_scale/logs"]), 0)
    h = conv2d_zeros(v, f"{name}/f1/l_last", h)
    if config.flow_coupling == 0:
        z2 = z2 + h
    else:
        scale = 1 / (1 + np.exp(-(h[..., 1::2] + 2)))
        z2 = (z2 + h[..., 0::2]) * scale
        change = change + np.log(scale).sum(axis=(1, 2, 3))
    return np.concatenate([z1, z2], axis=-1), change


def matrix_of(v: Variables, name: str) -> np.ndarray:
    if f"{name}/W" in v:
        return v[f"{name}/W"]
    lower = np.tril(v[f"{name}/L"], -1) + np.eye(len(v[f"{name}/L"]))
    diag = v[f"{name}/sign_S"] * np.exp(v[f"{name}/log_S"])
    return v[f"{name}/P"] @ lower @ (np.triu(v[f"{name}/U"], 1) + np.diag(diag))


def squeeze(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // 2, w // 2, 4 * c)


def conv3x3(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Padded with zeros, and with a channel that is 1 on the padding alone."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    edge = np.ones([*x.shape[:3], 1])
    edge[:, 1:-1, 1:-1] = 0
    x = np.concatenate([x, edge], axis=-1)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel)


def conv1x1(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return x @ kernel[0, 0]


def conv2d_zeros(v: Variables, name: str, x: np.ndarray) -> np.ndarray:
    logs = v[f"{name}/logs"]
    return (conv3x3(x, v[f"{name}/W"]) + v[f"{name}/b"]) * np.exp(3 * logs)


def linear_zeros(v: Variables, name: str, x: np.ndarray) -> np.ndarray:
    return (x @ v[f"{name}/W"] + v[f"{name}/b"]) * np.exp(3 * v[f"{name}/logs"])
