"""The model card of a latent prior, written from the summary of its run."""

from __future__ import annotations

from typing import Any

from vml_fast.training.card import log_section, rows, training_section
from vml_fast.training.heldout import psnr

USE = """\
## Use

```python
import vml_fast as vf

prior = vf.load_denoiser("{name}")
restored = vf.restore(y, H, prior)  # latent VML-MAP
```

`autoencoder/` is a diffusers `AutoencoderKL` between a pixel unshuffle and a pixel shuffle,
`denoiser/` a prior of its latents (a `UNet2DModel` with EDM's scalings), and `denoiser.json` says
how they fit: z = scaling_factor (enc(x) - shift_factor). Images are in [-1, 1].
"""


def autoencoder_section(summary: dict[str, Any]) -> str:
    """What the autoencoder is, how it was trained, and what it loses."""
    first, latent = summary["autoencoder"], summary["latent"]
    settings = first["settings"]
    lines = [
        ("latents", " × ".join(map(str, latent["latent_shape"]))),
        ("parameters", f"{first['parameters']:,}"),
        ("channels", ", ".join(map(str, settings["channels"]))),
        ("steps x batch", f"{first['step']:,} x {settings['batch']}"),
        ("time", f"{first['minutes']:.0f} minutes"),
        (
            "loss",
            f"mean absolute error + {settings['gradient_weight']:g} x that of the differences "
            f"between neighboring pixels + {settings['kl_weight']:g} x KL per latent number",
        ),
    ]
    if "heldout_rmse" in first:
        rmse = first["heldout_rmse"]
        lines.append(("held-out reconstructions", f"RMSE {rmse:.4f}, {psnr(rmse):.2f} dB"))
    return "## Autoencoder\n\n| | |\n|---|---|\n" + rows(lines) + "\n"


def heldout_section(table: dict[str, float]) -> str:
    """The denoising error by noise level."""
    lines = "\n".join(f"| {sigma} | {rmse:.4f} |" for sigma, rmse in table.items())
    return (
        "## Held-out denoising error\n\nRMSE of D(z + sigma n; sigma) against z, in units of the "
        f"latents (standard deviation .5).\n\n| sigma | RMSE |\n|---|---|\n{lines}\n"
    )


def latent_card(
    name: str, summary: dict[str, Any], log: list[dict[str, Any]], about: str | None = None
) -> str:
    """The whole card.

    Args:
        name: what `vml_fast.load_denoiser` takes.
        summary: content of the run's ``summary.json``.
        log: lines of the run's ``log.jsonl``.
        about: first paragraphs; by default one that says how it was made.

    Returns:
        Markdown.
    """
    size = summary["latent"]["image_shape"][1]
    made = "made with `vml-fast train-prior --latent`"
    default = f"A latent prior of {size}x{size} color images, {made}.\n"
    denoiser = training_section(summary).replace("## Training", "## Denoiser")
    parts = [f"# {name}\n\n{about or default}", USE.format(name=name)]
    parts += [autoencoder_section(summary), denoiser]
    if summary.get("heldout_rmse"):
        parts.append(heldout_section(summary["heldout_rmse"]))
    parts.append(log_section(log))
    return "\n".join(parts)
