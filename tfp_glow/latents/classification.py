"""Classes of images, from their latents or from their likelihoods."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfp_glow._batches import slices
from tfp_glow._checks import check_positive_integer, check_positive_number
from tfp_glow._inputs import check_no_context
from tfp_glow.dequantization import Seed, as_seed
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents.levels import level_mask

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["class_log_likelihoods", "linear_probe"]


def linear_probe(
    model: GlowModel,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    levels: Iterable[int] | None = None,
    regularization: float = 1.0,
    batch_size: int = 128,
) -> "Pipeline":
    """A linear classifier of latents: logistic regression.

    The model may have seen many images without labels, and the classifier a few with
    them. Compare it with one of pixels: a flow keeps all that there is in an image, and
    need not make classes easier to tell apart.

    Args:
        model: The model, without classes of its own.
        images: `uint8` `[N, H, W, C]`.
        labels: `[N]`.
        levels: Levels whose latents it sees, 0 the finest and -1 the coarsest; all when
            not given.
        regularization: Weight of the squared length of its weights.
        batch_size: How many images are encoded at a time.

    Returns:
        A fitted estimator of scikit-learn's, of images: `predict(images)`,
        `predict_proba(images)`, `score(images, labels)`.

    Raises:
        ValueError: If the model has classes or a context, there is no such level, or
            shapes do not fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> images, digits = data.load_arrays("digits", "train", limit=200)
        >>> probe = latents.linear_probe(model, images, digits, levels=[-1])
        >>> probe.predict(images[:5]).shape
        (5,)

    References:
        Alain and Bengio. Understanding intermediate layers using linear classifier
        probes. 2017. https://arxiv.org/abs/1610.01644
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    if model.glow.num_classes is not None:
        raise ValueError(
            "This model encodes an image with its label, which a probe is to find. Use "
            "`class_log_likelihoods`, or a model without `num_classes`. Received: "
            f"num_classes={model.glow.num_classes}."
        )
    check_no_context(model, "linear_probe")
    check_positive_number("regularization", regularization)
    check_positive_integer("batch_size", batch_size)
    is_seen = level_mask(model, levels).numpy() > 0
    if not len(images) or len(images) != len(labels) or not is_seen.any():
        raise ValueError(
            "There must be images, as many labels, and at least one level. Received: "
            f"{len(images)} images, {len(labels)} labels, levels={levels}."
        )

    def encode(images: np.ndarray) -> np.ndarray:
        parts = slices(len(images), batch_size)
        none = np.zeros([0, len(is_seen)], model.glow.dtype.as_numpy_dtype)
        z = np.concatenate([none, *(model.encode(images[part]) for part in parts)])
        return z[:, is_seen]

    probe = make_pipeline(
        FunctionTransformer(encode),
        StandardScaler(),
        LogisticRegression(C=1 / regularization, max_iter=1000),
    )
    return probe.fit(images, labels)


def class_log_likelihoods(
    model: GlowModel,
    images: tf.Tensor,
    *,
    seed: Seed | None = None,
    context: tf.Tensor | None = None,
    class_contexts: np.ndarray | None = None,
) -> tf.Tensor:
    """`log p(image | class)` of every class: a classifier by Bayes's rule.

    `tf.argmax(..., axis=-1)` is the likeliest class, and `tf.nn.softmax` gives their
    probabilities where all are as frequent; otherwise add the logarithms of their
    frequencies before.

    A model's `num_classes` are the paper's: the prior of the coarsest level alone sees
    the class. Where classes are to be told apart, let every coupling network see it, as
    a context: `context_shape=[K]`, trained with rows of `np.eye(K)`.

    Args:
        model: A model with classes, or with a context that says the class.
        images: `uint8` `[B, H, W, C]`.
        seed: Seed of the noise, which is that of all classes; new noise when not given.
        context: As `model.log_prob` takes it.
        class_contexts: Instead, of a model without classes: the context of each class,
            `[K, *context_shape]`.

    Returns:
        Nats, `[B, num_classes]` or `[B, K]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If the model has no classes, or shapes do not fit.

    Example:
        >>> model = GlowModel(
        ...     [8, 8, 1], num_classes=3, num_levels=2, num_steps=1, hidden_channels=8
        ... )
        >>> images = np.zeros([5, 8, 8, 1], np.uint8)
        >>> latents.class_log_likelihoods(model, images, seed=0).shape
        TensorShape([5, 3])
        >>> model = GlowModel(
        ...     [8, 8, 1], context_shape=[3], num_levels=2, num_steps=1,
        ...     hidden_channels=8,
        ... )
        >>> latents.class_log_likelihoods(
        ...     model, images, seed=0, class_contexts=np.eye(3)
        ... ).shape
        TensorShape([5, 3])

    References:
        Fetaya et al. Understanding the limitations of conditional generative models.
        2020. https://arxiv.org/abs/1906.01171
    """
    seed = as_seed(seed)
    if class_contexts is not None:
        if model.glow.num_classes is not None or context is not None:
            raise ValueError(
                "`class_contexts` are for a model without `num_classes`, and without "
                "`context` beside them. Received: "
                f"num_classes={model.glow.num_classes}, context={context!r}."
            )
        class_contexts = np.asarray(class_contexts)
        shape = tuple(model.glow.context_shape or ())
        if class_contexts.shape[1:] != shape or not len(class_contexts):
            raise ValueError(
                f"`class_contexts` must have shape [K, {', '.join(map(str, shape))}], "
                f"one a class. Received: shape={class_contexts.shape}."
            )
        log_probs = [
            model.log_prob(
                images,
                seed=seed,
                context=np.broadcast_to(of_class, [len(images), *of_class.shape]),
            )
            for of_class in class_contexts
        ]
    elif model.glow.num_classes is not None:
        log_probs = [
            model.log_prob(images, tf.fill([len(images)], k), seed, context=context)
            for k in range(model.glow.num_classes)
        ]
    else:
        raise ValueError(
            "This model has no classes. Make it with `num_classes`, name the context "
            "of each, `class_contexts`, or classify its latents: `linear_probe`."
        )
    return tf.stack(log_probs, axis=-1)
