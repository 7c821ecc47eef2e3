"""What is no valid argument is named in one sentence; no raw error of Python or torch comes out."""

import re

import numpy as np
import pytest
import torch

from tests.solvers.problems import problem
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting
from vml_fast.solvers import BASELINES, VMLMAP, restore

FEW = {"steps": 2, "inner_steps": 1}

WRONG = {
    "no operator": ({"operator": None}, "operator is a NoneType; it must be a LinearOperator"),
    "operator in words": ({"operator": "H"}, "operator is a str; it must be a LinearOperator"),
    "no denoiser": ({"denoiser": None}, r"denoiser is a NoneType; .* D\(x, sigma\)"),
    "no method": ({"method": ["vml-map"]}, r"method is \['vml-map'\]; it must be one of"),
    "no weight": ({"prior_weight": None}, "prior_weight is None; it must be 'auto' or a number"),
    "weight per pixel": ({"prior_weight": torch.ones(3)}, r"prior_weight is tensor\(.*"),
    "no step": ({"step_size": None}, r"step_size is None; it must be a number in \(0, inf\)"),
    "step in words": ({"step_size": "a"}, "step_size is 'a'; it must be a number"),
    "step as flag": ({"step_size": True}, "step_size is True; it must be a number"),
    "weight as flag": ({"prior_weight": True}, "prior_weight is True; it must be 'auto' or a"),
    "projection in words": (
        {"final_projection": "no"},
        "final_projection is 'no'; it must be True or False",
    ),
    "prior in words": (
        {"method": "map-ga-d", "use_prior": "no"},
        "use_prior is 'no'; it must be True or False",
    ),
    "condition as list": ({"condition": [5]}, "condition is a list; it must be a dictionary"),
    "callback as number": ({"callback": 5}, "callback is a int; it must be a function"),
    "batch in words": (
        {"max_batch": "x"},
        "max_batch is 'x'; it must be a whole number .* 'auto' or None",
    ),
    "steps in between": ({"steps": np.float64(3)}, "steps is .*; it must be a whole number"),
    "form as list": ({"preconditioner": ["auto"]}, "preconditioner is .*; it must be None"),
    "endless noise": ({"noise_std": 1e200}, r"noise_std is 1e\+200; it must be at most 1e\+06"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case):
    change, sentence = WRONG[case]
    setting = problem()
    arguments = {"operator": setting.operator, "denoiser": setting.denoiser, **FEW, **change}
    with pytest.raises(InputError, match=sentence) as error:
        restore(setting.y, **arguments)
    assert "\n" not in str(error.value)


def test_swapped_arguments_are_named():
    setting = problem()
    with pytest.raises(InputError, match="it must be a LinearOperator"):
        restore(setting.y, setting.denoiser, setting.operator)
    solver = VMLMAP(setting.denoiser, setting.operator, **FEW)
    with pytest.raises(InputError, match="operator is a str"):
        solver.solve(setting.y, operator="H")


def test_counts_of_numpy_are_whole_numbers():
    setting = problem()
    solver = VMLMAP(
        setting.denoiser, setting.operator, steps=np.int64(3), inner_steps=torch.tensor(2)
    )
    assert (solver.steps, solver.inner_steps) == (3, 2)
    assert type(solver.steps) is int


def test_the_steps_of_a_schedule_are_counted():
    setting = problem()
    solver = VMLMAP(setting.denoiser, setting.operator, steps=7, schedule=[1.0, 0.5])
    assert solver.steps == 2


def test_map_ga_takes_a_schedule_below_its_own_end():
    setting = problem(noise_std=0.1)
    result = restore(
        setting.y, setting.operator, setting.denoiser, method="map-ga-d-np", noise_std=0.1,
        schedule=[0.001], inner_steps=1, pigdm_steps=2,
    )  # fmt: skip
    assert torch.isfinite(result.image).all()


@pytest.mark.parametrize("entry", [float("nan"), float("inf")])
def test_a_start_that_is_not_finite_is_refused(entry):
    setting = problem()
    shape = (len(setting.y), *setting.operator.image_shape)
    with pytest.raises(InputError, match="initial holds NaN or infinite"):
        restore(
            setting.y,
            setting.operator,
            setting.denoiser,
            initial=torch.full(shape, entry, dtype=setting.y.dtype),
            **FEW,
        )


def test_sparse_arrays_are_refused():
    setting = problem()
    with pytest.raises(InputError, match="y is sparse; allowed: dense"):
        restore(setting.y.to_sparse(), setting.operator, setting.denoiser, **FEW)
    with pytest.raises(InputError, match="mask is sparse; allowed: dense"):
        Inpainting((1, 4, 4), torch.eye(4)[None].to_sparse())


def half(x, sigma):
    return x[..., :1]


def nothing(x, sigma):
    return None


def labels(x, sigma):
    return x.long()


@pytest.mark.parametrize(
    "method", ["vml-map-pre", *(name for name in BASELINES if "-d" not in name)]
)
@pytest.mark.parametrize("denoiser", [half, nothing, labels])
def test_a_denoiser_of_another_output_is_named(method, denoiser):
    setting = problem()
    few = {"steps": 2} | ({"consistency": denoiser} if method.startswith("map-ga") else {})
    shape = re.escape(str((len(setting.y), *setting.operator.image_shape)))
    with pytest.raises(InputError, match=f"denoiser {denoiser.__name__} returned .*{shape}"):
        restore(setting.y, setting.operator, denoiser, method=method, **few)
