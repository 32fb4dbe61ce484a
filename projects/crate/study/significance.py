"""Differences of models with several trainings each, measured on the same images, and corrections for many tests."""

from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Difference(NamedTuple):
    """A mean difference with its 95% interval, and the probability of one as large if there is none."""

    value: float
    low: float
    high: float
    p: float


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two models whose trainings and images are random draws (a mixed-effects model with crossed effects).

    D = mean(a) - mean(b);  Var(D) = Var_i(mean_s a_si - mean_t b_ti) / n + Var_s(mean_i a_si) / S + Var_t(mean_i b_ti)
    / T

    The interval is that of Student's t, with the degrees of freedom of Welch and Satterthwaite. A model with a single
    training adds no variance: the interval is then over images alone. The values of S trainings in n images are a,
    (S, n); those of T other trainings in the same images are b, (T, n).
    """
    images = first.mean(0) - second.mean(0)
    parts = [(images.var(ddof=1) / len(images), len(images) - 1)]
    parts += [(x.mean(1).var(ddof=1) / len(x), len(x) - 1) for x in (first, second) if len(x) > 1]
    variances, degrees = np.array(parts).T
    total = variances.sum()
    if total == 0:  # equal in every image
        return Difference(images.mean(), images.mean(), images.mean(), float(images.mean() == 0))
    freedom, error = total**2 / (variances**2 / degrees).sum(), np.sqrt(total)
    reach = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
    p = 2 * stats.t.sf(abs(images.mean()) / error, freedom)
    return Difference(*(float(value) for value in (images.mean(), images.mean() - reach, images.mean() + reach, p)))


def holm(probabilities: np.ndarray) -> np.ndarray:
    """Return Holm's corrected probabilities (m,): all below a are significant at level a for the whole family.

    p~_(i) = max over j <= i of min(1, (m - j + 1) p_(j))      (Holm, 1979)
    """
    order = np.argsort(probabilities)
    factors = np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.minimum(1, factors * probabilities[order]))
    return corrected
