"""Blur by any kernel on a torus: diagonal in the Fourier basis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.arrays import as_floating
from vml_fast.errors import InputError
from vml_fast.operators import checks, fourier
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.svd_operator import SVDOperator


class CircularBlur(SVDOperator):
    """y[i] = Σ_j kernel[j] x[(i - j + k//2) mod (H, W)], the true convolution, per channel.

    The kernel's center is at k//2 along each axis. `scipy.ndimage.convolve(mode="wrap")` is the
    same map for odd sizes.

    V is the real Fourier basis (`fourier.py`), the singular values are |ĥ|, the absolute transfer
    function, and its phases belong to U. The spectral layout is the orthonormal half spectrum as
    real numbers, (C, H, W//2 + 1, 2): one `rfft2`, nothing permuted. In the columns 0 and (W even)
    W/2 it holds each frequency twice, so sums over it are no sums over coordinates.

    Args:
        image_shape: (C, H, W).
        kernel: (kh, kw), (1|C, kh, kw), or (B, 1|C, kh, kw) for one kernel per sample (a batch of
            1 serves any batch); kh <= H and kw <= W; not normalized here.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], kernel: Any, *, rtol: float = DEFAULT_RTOL
    ) -> None:
        shape = checks.image_shape(image_shape)
        kernel = _checked_kernel(kernel, shape)
        batch_size = kernel.shape[0] if kernel.ndim == 4 else None
        super().__init__(shape, shape, rtol=rtol, data={"kernel": kernel}, batch_size=batch_size)
        self.spectral_shape = (*shape[:2], fourier.half_width(shape[2]), 2)

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "rtol": self.rtol, **self._data}

    # --- convolution ----------------------------------------------------------------------------

    def _forward(self, x: Tensor) -> Tensor:
        return self._filter(x, self._tensor("transfer", x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, self._tensor("transfer", y).conj())

    def _pseudo_inverse(self, y: Tensor) -> Tensor:
        return self._filter(y, self._tensor("inverse_transfer", y))

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        return self._inverse_fft(self._fft(x) * response)

    def _fft(self, x: Tensor) -> Tensor:
        if x.shape[0] == 0:  # MKL has no plan for an empty batch
            return torch.view_as_complex(x.new_zeros(0, *self.spectral_shape))
        return torch.fft.rfft2(x, norm="ortho")

    def _inverse_fft(self, half: Tensor) -> Tensor:
        if half.shape[0] == 0:
            return half.real.new_zeros(0, *self.image_shape)
        return torch.fft.irfft2(half, s=self.image_shape[1:], norm="ortho")

    def _derive_transfer(self) -> Tensor:
        """ĥ on the half spectrum: (1|C, H, W//2 + 1) or (B, 1|C, H, W//2 + 1)."""
        kernel = self._data["kernel"].double()
        kernel = kernel[None] if kernel.ndim == 2 else kernel
        rows, columns = kernel.shape[-2:]
        _, height, width = self.image_shape
        padded = torch.nn.functional.pad(kernel, (0, width - columns, 0, height - rows))
        centered = torch.roll(padded, (-(rows // 2), -(columns // 2)), (-2, -1))
        return fourier.symmetrize(torch.fft.rfft2(centered), width)

    def _derive_inverse_transfer(self) -> Tensor:
        return self._master("phase").conj() * self._master("reciprocals")[..., 0]

    # --- spectral layout ------------------------------------------------------------------------

    def _spectral(self, x: Tensor) -> Tensor:
        return torch.view_as_real(self._fft(x))

    def _spatial(self, z: Tensor) -> Tensor:
        return self._inverse_fft(torch.view_as_complex(z.contiguous()))

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        return torch.view_as_real(self._fft(y) * self._tensor("phase", y).conj())

    def _derive_spectral_values(self) -> Tensor:
        return self._master("transfer").abs()[..., None]

    def _derive_phase(self) -> Tensor:
        """ĥ/|ĥ|, and 1 where ĥ is zero or too small to have a direction."""
        transfer = self._master("transfer")
        size = transfer.abs()
        tiny = size <= 1e-100 * size.max()
        return torch.where(tiny, 1.0, transfer / torch.where(tiny, 1.0, size))

    # --- flat layout ----------------------------------------------------------------------------

    def _pack(self, z: Tensor) -> Tensor:
        picked = z.flatten(2)[..., self._tensor("pack_index", z)]
        return (picked * self._tensor("pack_weight", z)).flatten(1)

    def _unpack(self, z: Tensor) -> Tensor:
        grid = z.unflatten(1, (self.image_shape[0], -1))
        picked = grid[..., self._tensor("unpack_index", z)] * self._tensor("unpack_weight", z)
        return picked.unflatten(2, self.spectral_shape[1:])

    def _ut(self, y: Tensor) -> Tensor:
        return self._pack(self._spectral_measurement(y))

    def _u(self, z: Tensor) -> Tensor:
        half = torch.view_as_complex(self._unpack(z).contiguous())
        return self._inverse_fft(half * self._tensor("phase", z))

    def _derive_singular_values(self) -> Tensor:
        values = self._master("spectral_values")[..., 0]
        flat = values.flatten(-2)[..., fourier.value_index(*self.image_shape[1:])]
        flat = flat.expand(*flat.shape[:-2], self.image_shape[0], -1)
        return flat.flatten(-2).contiguous()

    def _derive_pack_index(self) -> Tensor:
        return fourier.pack_plan(*self.image_shape[1:])[0]

    def _derive_pack_weight(self) -> Tensor:
        return fourier.pack_plan(*self.image_shape[1:])[1]

    def _derive_unpack_index(self) -> Tensor:
        return fourier.unpack_plan(*self.image_shape[1:])[0]

    def _derive_unpack_weight(self) -> Tensor:
        return fourier.unpack_plan(*self.image_shape[1:])[1]


def _checked_kernel(kernel: Any, image_shape: tuple[int, int, int]) -> Tensor:
    kernel = as_floating(kernel, "kernel")
    channels, height, width = image_shape
    if (
        kernel.ndim not in (2, 3, 4)
        or not 1 <= kernel.shape[-2] <= height
        or not 1 <= kernel.shape[-1] <= width
        or (kernel.ndim > 2 and kernel.shape[-3] not in (1, channels))
        or kernel.shape[0] == 0
    ):
        raise InputError(
            f"kernel has shape {tuple(kernel.shape)}; image_shape {image_shape} takes (kh, kw), "
            f"(1|{channels}, kh, kw) or (B, 1|{channels}, kh, kw) with kh <= {height} and "
            f"kw <= {width}"
        )
    checks.finite("kernel", kernel)
    if kernel.ndim == 4 and not bool(kernel.flatten(1).any(1).all()):
        raise InputError(
            "kernel has no non-zero entry for a sample of its batch; allowed: at least one each"
        )
    return kernel
