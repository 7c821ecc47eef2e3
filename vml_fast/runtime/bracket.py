"""The bracket v of one inner step, x <- x + J^T v, for every kind of operator.

A bracket is loaded with a problem, told the coefficients at every noise level, and called K times
per level with the network's raw output F. It returns v and the cotangent c_out v in F's dtype.
Which computation a call is depends on the problem's structure alone, never on the level, and what
it reads stays in place (`vml_fast.runtime.memory`): a call can be recorded once and replayed.
The operators of `vml_fast.runtime.fused` do all of it in one pass; this file serves the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vml_fast.denoisers.base import per_image
from vml_fast.operators.base import SVDOperator
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.ops import resolve
from vml_fast.preconditioners import (
    Coefficients,
    null_space_weight,
    plain_coefficients,
    uses_pseudo_inverse,
)
from vml_fast.runtime.inverse import CG_ITERATIONS, CG_TOLERANCE
from vml_fast.runtime.memory import Memory
from vml_fast.runtime.network import Network
from vml_fast.runtime.problem import Level, Problem, column


class Bracket(ABC):
    """Computes v = step_size V( alpha (U^T y - s V^T D) + beta V^T (D - x) ) from F and x.

    Attributes:
        networks: further networks that a call runs, each once forward.
    """

    networks: tuple[Network, ...] = ()

    def __init__(self, problem: Problem) -> None:
        self.memory = Memory()
        self.load(problem)

    def load(self, problem: Problem) -> None:
        """Take the measurement, operator and noise of a problem, of the same structure if again."""
        self.problem = problem
        self.y = self.memory.write("y", problem.y)
        self.noise_std = problem.noise_std.to(problem.y.device)

    def set_level(self, level: Level) -> None:
        """Compute everything that depends on the noise level alone."""
        self.level = level
        self.scale = level.active.to(self.noise_std) * self.problem.step_size

    def coefficients(self, s: Tensor, kept: Tensor, norm: Tensor) -> Coefficients:
        """alpha and beta at the present level, with step size and activity folded in."""
        alpha, beta = self.problem.coefficients(s, kept, norm, self.level.sigma)
        scale = column(self.scale, s)
        return Coefficients(scale * alpha, scale * beta)

    def packed(self, alpha: Tensor, beta: Tensor, beta_null: Tensor) -> Tensor:
        """The (B, 5) coefficients of a bracket op, from (B,) columns."""
        skip, out = self.level.scalings.skip, self.level.scalings.out
        columns = (skip.to(alpha), out.to(alpha), alpha, beta, beta_null)
        return torch.stack(torch.broadcast_tensors(*columns), dim=1).to(self.y.dtype)

    @abstractmethod
    def __call__(self, output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """v in the dtype of x, and the network's cotangent c_out v in the dtype of `output`."""


class GeneralBracket(Bracket):
    """A bracket whose direction is computed in image space by the operator itself."""

    def __init__(self, problem: Problem) -> None:
        like = problem.y
        self.denoise = resolve("denoised_stack", problem.backend, like.device, like.dtype)
        self.finish = resolve("general_bracket", problem.backend, like.device, like.dtype)
        super().__init__(problem)

    def set_level(self, level: Level) -> None:
        """Compute everything that depends on the noise level alone."""
        super().set_level(level)
        one = torch.ones_like(self.noise_std)
        self.whole = self.memory.write("whole", self.packed(one, 0 * one, 0 * one))

    def __call__(self, output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """v and its cotangent, around `direction`."""
        denoised = self.denoise(output, x, self.whole, False)[0]
        return self.finish(output, x, self.direction(x, denoised), self.whole)

    @abstractmethod
    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """v from the state and the denoised image, both (B, C, H, W)."""


class SVDBracket(GeneralBracket):
    """Any operator with an SVD: one transform of D (two with a prior term) and one back."""

    def load(self, problem: Problem) -> None:
        """Take the measurement in the coordinates of U, and the singular values."""
        super().load(problem)
        assert isinstance(problem.operator, SVDOperator)
        self.operator: SVDOperator = problem.operator
        self.measured = self.operator.spectral_measurement(problem.y)
        self.s = self._batched(self.operator.spectral_singular_values())
        self.kept = self._batched(self.operator.spectral_retained())
        self.norm = self.s.flatten(1).amax(1)
        self.has_prior = problem.has_prior_term

    def _batched(self, values: Tensor) -> Tensor:
        """Shared singular values with a leading batch dimension of 1."""
        missing = self.measured.ndim - values.ndim
        return values.reshape(*(1,) * missing, *values.shape).to(self.measured.device)

    def set_level(self, level: Level) -> None:
        """Compute what depends on the noise level alone."""
        super().set_level(level)
        write, dtype = self.memory.write, self.y.dtype
        alpha, beta = self.coefficients(self.s, self.kept, self.norm)
        self.denoised_weight = write("denoised weight", (beta - alpha * self.s).to(dtype))
        self.state_weight = write("state weight", beta.to(dtype))
        self.target = write("target", alpha.to(dtype) * self.measured)
        # beta, (B,), on the null space that an incomplete basis V leaves out
        zero = self.s.new_zeros(1, 1)
        outside = self.coefficients(zero, zero > 0, self.norm).beta.reshape(-1)
        self.outside_weight = write("outside weight", outside.to(dtype))

    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """V( alpha (U^T y - s V^T D) + beta V^T (D - x) ), and the part that V leaves out."""
        spectrum = self.operator.spectral(denoised)
        weighted = torch.addcmul(self.target, self.denoised_weight, spectrum)
        if not self.has_prior:
            return self.operator.spatial(weighted)
        state = self.operator.spectral(x)
        v = self.operator.spatial(weighted - self.state_weight * state)
        if not self.operator.complete:
            outside = denoised - x - self.operator.spatial(spectrum - state)
            v = v + column(self.outside_weight, outside) * outside
        return v


class PlainBracket(GeneralBracket):
    """No preconditioner and no SVD: v = a H^T (y - H D) + b (D - x)."""

    def load(self, problem: Problem) -> None:
        """Take the largest singular value."""
        super().load(problem)
        self.norm = self.noise_std.new_tensor([problem.operator.norm()])

    def set_level(self, level: Level) -> None:
        """Compute what depends on the noise level alone."""
        super().set_level(level)
        one = torch.ones_like(self.noise_std)
        sigma_t = level.sigma.to(one.device)
        data, prior = plain_coefficients(one, self.norm, sigma_t, self.noise_std)
        self.data_weight = self.memory.write("a", self.scale * data)
        self.prior_weight = self.memory.write("b", self.scale * prior)

    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """A H^T (y - H D) + b (D - x)."""
        operator = self.problem.operator
        pull = operator.adjoint(self.y - operator.forward(denoised))
        return column(self.data_weight, x) * pull + column(self.prior_weight, x) * (denoised - x)


class ConjugateGradientBracket(GeneralBracket):
    """Both preconditioners where H has no SVD, by conjugate gradients on the same equations.

    With P = H^+ H, w the null-space weight, a = sigma_t^2 / (sigma_t^2 + sigma_y^2) and b = 1 - a:

        pseudo_inverse:  v = H^+ ( a (y - H D) + (b - w) H (D - x) ) + w (D - x)
        noise_aware:     v = w g + (1 - w) A ( H^T (y - H D) - q g ) + w (D - x)
                         A = ( H^T H + q I )^-1,  g = A H^T ( y - H D - H (D - x) ),
                         q = (sigma_y / sigma_t)^2

    A H^T is H^T (H H^T + q I)^-1, and has a solution where y is not in the range of H, too.
    """

    def set_level(self, level: Level) -> None:
        """Compute what depends on the noise level alone."""
        super().set_level(level)
        sigma_t = level.sigma.to(self.noise_std.device)
        assert self.problem.preconditioner is not None
        self.inverse = uses_pseudo_inverse(self.problem.preconditioner, self.noise_std)
        self.null_weight = null_space_weight(self.problem.prior_weight, sigma_t, self.noise_std)
        self.prior = self.noise_std**2 / (sigma_t**2 + self.noise_std**2)
        self.ratio = torch.where(self.inverse, 1.0, self.noise_std**2 / sigma_t**2)

    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """The form of each sample, by one or two solves."""
        operator = self.problem.operator
        pull = self.y - operator.forward(denoised)
        toward = denoised - x
        measured = operator.forward(toward)
        parts = []
        if bool(self.inverse.any()):
            parts.append(self._pseudo_inverse(pull, measured))
        if not bool(self.inverse.all()):
            parts.append(self._noise_aware(pull, measured))
        v = parts[0]
        if len(parts) == 2:
            v = torch.where(per_image(self.inverse, x), parts[0], parts[1])
        return column(self.scale, x) * (v + column(self.null_weight, x) * toward)

    def _pseudo_inverse(self, pull: Tensor, measured: Tensor) -> Tensor:
        data, prior = 1.0 - self.prior, self.prior - self.null_weight
        target = column(data, pull) * pull + column(prior, pull) * measured
        return self.problem.operator.pseudo_inverse(target)

    def _noise_aware(self, pull: Tensor, measured: Tensor) -> Tensor:
        operator = self.problem.operator
        newton = self._solve(operator.adjoint(pull - measured))
        weight, ratio = column(self.null_weight, newton), column(self.ratio, newton)
        if not bool((weight == 1).all()):
            rest = self._solve(operator.adjoint(pull) - ratio * newton)
            newton = torch.lerp(rest, newton, weight)
        return newton

    def _solve(self, target: Tensor) -> Tensor:
        """A applied to an image."""
        operator = self.problem.operator
        ratio = column(self.ratio, target)
        return conjugate_gradient(
            lambda z: operator.adjoint(operator.forward(z)) + ratio * z,
            target,
            tol=CG_TOLERANCE[target.dtype],
            max_iter=CG_ITERATIONS,
        )


def recording_obstacle(problem: Problem) -> str | None:
    """Why a call of the problem's bracket cannot be recorded on a device, or None."""
    if problem.operator.has_svd or problem.preconditioner is None:
        return None
    return (
        f"{type(problem.operator).__name__} has no SVD, and conjugate gradients read from the "
        "device when to stop (a method without a preconditioner does without them)"
    )


def general_bracket(problem: Problem) -> GeneralBracket:
    """The bracket of any operator: by its SVD, else by H and H^T alone."""
    if problem.operator.has_svd:
        return SVDBracket(problem)
    if problem.preconditioner is None:
        return PlainBracket(problem)
    return ConjugateGradientBracket(problem)
