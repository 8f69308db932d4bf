"""Tolerances of numeric tests, by the reason why two results differ.

Tests of approximations, such as a membrane or a warp, state their own bounds.
"""

GOLDEN = {
    "mapping": 1e-4,
    "stylegan2": 1e-3,
    "e4e": 1e-3,
    "feature_style": 1e-3,
    "restyle": 5e-3,
    "mobilestylegan": 1e-3,
}
"""Golden cases of networks, by the encoder or generator: largest deviation over the standard deviation."""

GOLDEN_METRIC = 1e-4
"""Golden scores of metrics, relative."""

LIBRARY = 1e-5
"""The same formula in another library, in float32, relative."""

FLOAT32 = 1e-5
"""The same float32 arithmetic in another order: absolute, for values around 1."""

FLOAT32_DEEP = 1e-4
"""The same float32 arithmetic in another order through a deep network or a linear solver, for values around 1."""

FLOAT64 = 1e-12
"""The same float64 arithmetic in another order, for values around 1."""

LEVEL = 1
"""Rounding to 8 bits, in grey levels."""
