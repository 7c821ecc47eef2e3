"""What each method gets at a budget of network passes (forwards + Jacobian products), in one table.

What one image costs:

    vml-map, vml-map-pre        N (2 K + 1)
    vml-map-tau, -tau-pre       N (2 K + 1) - 2 K for each level that is not optimized
    map-ga-d, map-ga            N (3 K + 1) without noise (its prior takes a forward per step)
    map-ga-d-np, map-ga-np      N (2 K + 1)
    map-ga..., noisy            N (2 K + 1) + 2 per level of its PiGDM tail (and no prior)
    ddrm                        N
    pigdm, dps                  2 N
    daps                        N times its ODE steps

Every setting that is not in the table is the method's default here, which is its paper's, but for
two: DAPS's likelihood is that of the true sigma_y where there is noise (the authors' .01 is far
below the .05 of the data), and DPS's zeta, chosen by its authors for 1,000 steps at 256 pixels,
grows as N falls.
"""

from __future__ import annotations

from typing import Any

from vml_fast.errors import InputError

BUDGETS = (20, 100, 200, 1000)

Settings = dict[str, Any]


def _nk(*pairs: tuple[int, int], **more: tuple[Any, ...]) -> list[Settings]:
    """Settings of N×K methods, one per budget; `more` holds one value per budget as well."""
    return [
        {"steps": n, "inner_steps": k} | {name: values[i] for name, values in more.items()}
        for i, (n, k) in enumerate(pairs)
    ]


def _n(*steps: int, **more: tuple[Any, ...]) -> list[Settings]:
    """Settings of methods without inner steps, likewise."""
    return [
        {"steps": n} | {name: values[i] for name, values in more.items()}
        for i, n in enumerate(steps)
    ]


_TRUE = (None, None, None, None)

NOISELESS: dict[str, list[Settings]] = {
    #                    20       100      200      1000 passes
    "vml-map":      _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "vml-map-pre":  _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "map-ga":       _nk((5, 1),  (14, 2), (20, 3), (40, 8)),
    "map-ga-d":     _nk((5, 1),  (14, 2), (20, 3), (40, 8)),
    "map-ga-np":    _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "map-ga-d-np":  _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "ddrm":         _n(  20,      100,     200,     1000),
    "pigdm":        _n(  10,      50,      100,     500),
    "daps":         _n(  10,      50,      100,     200, ode_steps=(2, 2, 2, 5)),
    "dps":          _n(  10,      50,      100,     500, zeta=(10.0, 5.0, 3.0, 1.0)),
}  # fmt: skip
"""Method to its settings at each of `BUDGETS`, without noise."""

NOISY: dict[str, list[Settings]] = {
    #                       20       100      200      1000 passes
    "vml-map":         _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "vml-map-pre":     _nk((4, 2),  (20, 2), (40, 2), (40, 12)),
    "vml-map-tau":     _nk((7, 1),  (23, 2), (46, 2), (47, 12)),
    "vml-map-tau-pre": _nk((7, 1),  (23, 2), (46, 2), (47, 12)),
    "map-ga-np":       _nk((5, 1),  (16, 2), (32, 2), (38, 12), pigdm_steps=(2, 10, 20, 20)),
    "map-ga-d-np":     _nk((5, 1),  (16, 2), (32, 2), (38, 12), pigdm_steps=(2, 10, 20, 20)),
    "ddrm":            _n(  20,      100,     200,     1000),
    "pigdm":           _n(  10,      50,      100,     500),
    "daps":            _n(  10,      50,      100,     200, ode_steps=(2, 2, 2, 5),
                          likelihood_std=_TRUE),
    "dps":             _n(  10,      50,      100,     500, zeta=(10.0, 5.0, 3.0, 1.0)),
}  # fmt: skip
"""The same with noise. The tau forms' N is for sigma_y = .05: other levels leave out more or fewer.

MAP-GA's prior plays no part with noise, so its forms with a prior are left out.
"""

CONSISTENCY_METHODS = ("map-ga", "map-ga-np")
"""Methods that need a consistency model beside the denoiser."""


def settings(method: str, budget: int, noise_std: float) -> Settings:
    """The keywords of the method's solver at a budget.

    Args:
        method: a key of `NOISELESS`, or with noise of `NOISY`.
        budget: one of `BUDGETS`, network passes per image.
        noise_std: sigma_y; only whether it is 0 counts.

    Raises:
        InputError: no such method or budget.
    """
    table = NOISY if noise_std > 0 else NOISELESS
    if method not in table:
        kind = "with noise" if noise_std > 0 else "without noise"
        raise InputError(f"method is {method!r}; {kind} the budgets are for {', '.join(table)}")
    if budget not in BUDGETS:
        raise InputError(f"budget is {budget}; it must be one of {', '.join(map(str, BUDGETS))}")
    return dict(table[method][BUDGETS.index(budget)])


def methods(noise_std: float, *, consistency: bool) -> list[str]:
    """The methods that are compared at a noise level.

    Args:
        noise_std: sigma_y.
        consistency: whether a consistency model is at hand.
    """
    table = NOISY if noise_std > 0 else NOISELESS
    return [name for name in table if consistency or name not in CONSISTENCY_METHODS]


def describe(chosen: Settings) -> str:
    """Settings in short: 20×2 for N×K, N alone, and what else there is."""
    rest = dict(chosen)
    steps, inner = rest.pop("steps"), rest.pop("inner_steps", None)
    text = str(steps) if inner is None else f"{steps}×{inner}"
    named = {"ode_steps": "ODE", "pigdm_steps": "PiGDM", "zeta": "ζ", "likelihood_std": "β"}
    for key, value in rest.items():
        shown = "σ_y" if value is None else f"{value:g}" if isinstance(value, float) else value
        text += f", {named.get(key, key)} {shown}"
    return text
