"""Binary digits: the bounds of their negative log-likelihood, nats an image, by a variational autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.reference.protocol import Tables, column, digit_rows, learn

BARS = {"minus_elbo": ("<=", 18.3), "minus_iwae_1000": ("<=", 17.1)}  # nats
SEEDS = range(5)
ARCHITECTURE = "vae"
# chosen by the validation rows; then these are learned from as well
OPTIONS: dict[str, Any] = {
    "likelihood": "bernoulli",
    "dropout": 0.2,
    "epochs": 150,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "refit": True,
}
DRAWS = 100  # of the code for each image, behind its −ELBO
PRIOR = 0.5  # of a mixture's pixels: counts added to both of their values


def run(seed: int) -> dict[str, float]:
    """Both bounds on the test rows, and the likelihood of a mixture of 80 Bernoulli distributions there."""
    train, validation, test = tables(seed)
    found = learn("vae", "generation", (train, validation, test), "image", seed=seed, kinds={"seed": "seed"}, **OPTIONS)
    bounds = measured(found.network.architecture.eval(), found.test["target"].flatten(1), seed)
    x, x_test = (_bits(table) for table in (pa.concat_tables([train, validation]), test))
    return bounds | {"mixture": mixture(x, x_test, seed)}


@torch.no_grad()
def measured(made: Any, x: torch.Tensor, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    made.draws = torch.randn(DRAWS, made.out_features)
    none = x[:, :0]
    return {
        "minus_elbo": float(made.minus_elbo(x, none).mean()),
        "minus_iwae_1000": float(made.importance_bound(x, none, 1000).mean()),
    }


def tables(seed: int) -> Tables:
    """Images of 0 and 1, on where a pixel is above half of its range, and a seed each."""
    from sklearn.datasets import load_digits

    bits = (load_digits().images > 8).astype(np.float32)
    return tuple(_table(bits[rows], rows) for rows in digit_rows(seed))  # type: ignore[return-value]


def _table(bits: np.ndarray, seeds: np.ndarray) -> pa.Table:
    return pa.table({"image": column(bits), "seed": pa.array(seeds)})


def _bits(table: pa.Table) -> np.ndarray:
    bits: np.ndarray = table.column("image").combine_chunks().to_numpy_ndarray().reshape(len(table), -1)
    return bits


def mixture(x: np.ndarray, x_test: np.ndarray, seed: int, parts: int = 80, steps: int = 100) -> float:
    """−log-likelihood of the test rows, nats, by a mixture fitted by expectation-maximisation."""
    from scipy.special import logsumexp

    p, share = np.random.default_rng(seed).uniform(0.25, 0.75, (parts, x.shape[1])), np.full(parts, 1 / parts)

    def joint(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.log(share) + rows @ np.log(p).T + (1 - rows) @ np.log(1 - p).T
        return found

    for _ in range(steps):
        both = joint(x)
        weight = np.exp(both - logsumexp(both, axis=1, keepdims=True))
        count = weight.sum(0)
        p = (weight.T @ x + PRIOR) / (count[:, None] + 2 * PRIOR)
        share = (count + 0.1) / (count + 0.1).sum()
    return float(-logsumexp(joint(x_test), axis=1).mean())
