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

How N and K share a budget was chosen on 4 held-out emoji that are not among the 16 of the tables
(half, sr4, deblur-gauss, noiseless, budgets 20 and 100): at 100 passes 33×1 gave 17.0, 26.0 and
38.8 dB for vml-map-pre, 20×2 gave 15.8, 25.9 and 39.0, 9×5 gave 15.9, 25.8 and 38.8; the others
follow the same rule, many levels of few steps. DPS's zeta was chosen likewise, since its authors'
.3 to 1 are for 1,000 steps at 256 pixels. Every other setting is its paper's, DAPS's beta_y = .01
with noise too: on the same 4 emoji with sigma_y = .05 it gave 20.5, 26.6, 28.9 and 26.8 dB (half,
sr4, deblur-gauss, random70; 100 passes) where the true sigma_y in its place gave 20.0, 14.8, 25.2
and 23.9, since 100 Langevin steps of 1e-4 do not settle on that weaker likelihood.
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


NOISELESS: dict[str, list[Settings]] = {
    #                    20       100      200      1000 passes
    "vml-map":      _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "vml-map-pre":  _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "map-ga":       _nk((5, 1),  (25, 1), (50, 1), (76, 4)),
    "map-ga-d":     _nk((5, 1),  (25, 1), (50, 1), (76, 4)),
    "map-ga-np":    _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "map-ga-d-np":  _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "ddrm":         _n(  20,      100,     200,     1000),
    "pigdm":        _n(  10,      50,      100,     500),
    "daps":         _n(  10,      50,      100,     200, ode_steps=(2, 2, 2, 5)),
    "dps":          _n(  10,      50,      100,     500, zeta=(10.0, 5.0, 3.0, 1.0)),
}  # fmt: skip
"""Method to its settings at each of `BUDGETS`, without noise."""

NOISY: dict[str, list[Settings]] = {
    #                       20       100      200      1000 passes
    "vml-map":         _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "vml-map-pre":     _nk((4, 2),  (33, 1), (66, 1), (111, 4)),
    "vml-map-tau":     _nk((7, 1),  (37, 1), (75, 1), (130, 4)),
    "vml-map-tau-pre": _nk((7, 1),  (37, 1), (75, 1), (130, 4)),
    "map-ga-np":       _nk((5, 1),  (26, 1), (53, 1), (106, 4), pigdm_steps=(2, 10, 20, 20)),
    "map-ga-d-np":     _nk((5, 1),  (26, 1), (53, 1), (106, 4), pigdm_steps=(2, 10, 20, 20)),
    "ddrm":            _n(  20,      100,     200,     1000),
    "pigdm":           _n(  10,      50,      100,     500),
    "daps":            _n(  10,      50,      100,     200, ode_steps=(2, 2, 2, 5)),
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
    """Settings in short: 20×2 for N×K, N alone, and what else there is but the networks."""
    rest = {name: value for name, value in chosen.items() if name != "consistency"}
    steps, inner = rest.pop("steps"), rest.pop("inner_steps", None)
    text = str(steps) if inner is None else f"{steps}×{inner}"
    named = {"ode_steps": "ODE", "pigdm_steps": "PiGDM", "zeta": "ζ"}
    for key, value in rest.items():
        shown = f"{value:g}" if isinstance(value, float) else value
        text += f", {named.get(key, key)} {shown}"
    return text
