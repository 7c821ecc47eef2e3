"""Counter-based noise against the published known answers, and its independence of the batch."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from vml_fast.ops import philox

# Known answers of philox4x32-10, published with the generator (Random123, kat_vectors).
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    block, draw, sample_low, sample_high = counter
    seed = _signed(key[0] | key[1] << 32)
    sample = _signed(sample_low | sample_high << 32)
    words = philox._rounds([torch.tensor([c]) for c in counter], [torch.tensor([k]) for k in key])
    assert [int(w) for w in words] == expected
    if block == 0:
        by_name = philox.philox_words(4, torch.tensor([seed]), torch.tensor([sample]), draw)
        assert by_name[0, 0].tolist() == expected


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _noise(seed: int, samples: list[int], draw: int = 0, shape=(3, 5, 7), dtype=torch.float32):
    return philox.normal(
        (len(samples), *shape),
        seed=torch.full((len(samples),), seed),
        sample=torch.tensor(samples),
        draw=draw,
        dtype=dtype,
    )


def test_a_sample_does_not_depend_on_its_batch() -> None:
    together = _noise(7, [0, 1, 2, 3, 2**40])
    for row, sample in enumerate([0, 1, 2, 3, 2**40]):
        assert torch.equal(together[row : row + 1], _noise(7, [sample]))


@pytest.mark.parametrize("other", [{"seed": 8}, {"draw": 1}, {"samples": [1]}, {"seed": 7 + 2**32}])
def test_key_and_draw_change_every_number(other: dict) -> None:
    base = _noise(**({"seed": 7, "samples": [0], "draw": 0}))
    changed = _noise(**({"seed": 7, "samples": [0], "draw": 0} | other))
    assert (base != changed).float().mean() > 0.99


def test_normal_distribution() -> None:
    values = _noise(1, [0, 1], shape=(3, 128, 128)).flatten()
    assert stats.kstest(values.double().numpy(), "norm").pvalue > 1e-3
    pairs = values.reshape(-1, 2).double()
    assert abs(torch.corrcoef(pairs.T)[0, 1]) < 4 / len(pairs) ** 0.5


def test_float64_and_float32_agree_to_rounding() -> None:
    low, high = _noise(3, [5]), _noise(3, [5], dtype=torch.float64)
    assert high.dtype == torch.float64
    torch.testing.assert_close(low.double(), high, rtol=0, atol=2e-6)


def test_a_tensor_draw_equals_an_int_draw() -> None:
    assert torch.equal(_noise(3, [5], draw=9), _noise(3, [5], draw=torch.tensor([9])))
