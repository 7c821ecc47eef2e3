"""The model card of a prior, written from the summary of its run."""

from __future__ import annotations

from typing import Any

from vml_fast.training.consistency_loss import FEWEST_LEVELS
from vml_fast.training.heldout import psnr

USE = """\
## Use

```python
import vml_fast as vf

prior = vf.load_denoiser("{name}")
```

`config.json` and the weights are a diffusers `UNet2DModel`; `denoiser.json` says how the denoiser
is made of it: D(x; sigma) = c_skip x + c_out F(c_in x; s ln(sigma)/4) with EDM's scalings (Karras
et al. 2022, arXiv 2206.00364, Table 1), s = `noise_scale`, and F the U-Net between a pixel
unshuffle and a pixel shuffle by `pixel_unshuffle`. Images are in [-1, 1].
"""

USE_CONSISTENCY = """\
## Use

```python
import vml_fast as vf

prior = vf.load_denoiser("{teacher}")
consistency = vf.load_denoiser("{name}")
image = vf.restore(y, H, prior, method="map-ga-np", consistency=consistency).image
```

`config.json` and the weights are a diffusers `UNet2DModel`; `denoiser.json` says how the model is
made of it: C(x; sigma) = c_skip x + c_out F(c_in x; s ln(sigma)/4) with the scalings of Song et al.
2023 (arXiv 2303.01469, appendix C), s = `noise_scale`, and F the U-Net between a pixel unshuffle
and a pixel shuffle by `pixel_unshuffle`. C(x; sigma_min) = x. Images are in [-1, 1].
"""


def rows(table: list[tuple[str, str]]) -> str:
    """Lines of a two-column Markdown table, without a heading."""
    return "\n".join(f"| {left} | {right} |" for left, right in table)


def training_section(summary: dict[str, Any]) -> str:
    """What was trained, on what, and for how long."""
    settings = summary["settings"]
    end = "" if summary["final"] else " (an intermediate snapshot of a run that has not ended)"
    train, heldout = summary["train"], summary["heldout"]
    sides, init = settings["attention"], settings["init"]
    attention = "lowest resolution" if sides is None else ", ".join(map(str, sides)) or "middle"
    lines = [
        ("parameters", f"{summary['parameters']:,}"),
        (
            "channels; residual blocks",
            f"{', '.join(map(str, settings['channels']))}; {settings['layers']}",
        ),
        ("attention at", attention),
        ("training images", f"{train['images']:,} in {train['groups']:,} groups"),
        ("held-out images", f"{heldout['images']:,} in {heldout['groups']:,} groups"),
        ("steps x batch", f"{summary['step']:,} x {settings['batch']}{end}"),
        ("time", f"{summary['minutes']:.0f} minutes on {summary['device']}"),
        ("precision, torch", f"{summary['precision']}, {summary['torch']}"),
        (
            "AdamW",
            f"learning rate {settings['learning_rate']:g}, warm-up {settings['warmup_steps']} "
            f"steps, {settings['decay']} decay, betas (0.9, 0.99), weight decay "
            f"{settings['weight_decay']:g}, gradient norm ≤ {settings['clip_norm']:g}",
        ),
        ("ln(sigma) in training", f"N({settings['noise_mean']:g}, {settings['noise_std']:g}²)"),
        ("weight average", f"power function, relative width {settings['ema_width']:g}"),
        ("seed", str(settings["seed"])),
    ]
    if "teacher" in settings:
        lines[:0] = [
            ("distilled from", f"`{settings['teacher']}`, whose weights it began with"),
            (
                "steps of a pair",
                f"of {FEWEST_LEVELS} to {settings['levels']} noise levels, by Heun's method",
            ),
            ("distance", "pseudo-Huber, in units of the network's output"),
            ("target", f"weights averaged with decay {settings['target_decay']:g}"),
        ]
    else:
        lines.insert(0, ("initialized from", "random weights" if init is None else f"`{init}`"))
    return "## Training\n\n| | |\n|---|---|\n" + rows(lines) + "\n"


def heldout_section(summary: dict[str, Any]) -> str:
    """Denoising error by noise level, and what storing float16 weights changes."""
    drift = summary.get("float16_drift", {})
    lines = [
        f"| {sigma} | {rmse:.4f} | {psnr(rmse):.2f} |" + (f" {drift[sigma]:.1e} |" if drift else "")
        for sigma, rmse in summary["heldout_rmse"].items()
    ]
    symbol = "C" if "teacher" in summary["settings"] else "D"
    heading = "| sigma | RMSE | PSNR (dB) |" + (" float16 drift |" if drift else "")
    note = (
        "\nThe drift is the RMS difference between the denoised images with weights stored in "
        "float16 and in\nfloat32, both computed in float32.\n"
        if drift
        else ""
    )
    return (
        "## Held-out denoising error\n\n"
        f"One image of each held-out group; RMSE of {symbol}(y + sigma n; sigma) against y, images "
        "in [-1, 1].\n\n"
        f"{heading}\n{'|---' * heading.count(' |')}|\n" + "\n".join(lines) + "\n" + note
    )


def flow_section(summary: dict[str, Any]) -> str:
    """How far a consistency model and its teacher are from the end of the teacher's ODE."""
    teacher = summary["flow_rmse_teacher"]
    lines = [
        f"| {sigma} | {rmse:.4f} | {teacher[sigma]:.4f} |"
        for sigma, rmse in summary["flow_rmse"].items()
    ]
    return (
        "## Distance to the end of the ODE\n\n"
        "RMS difference from where the teacher's probability-flow ODE from y + sigma n ends (18 "
        "levels, Heun's\nmethod), of C and of the teacher's D, for held-out y.\n\n"
        "| sigma | C | D |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def log_section(log: list[dict[str, Any]], lines: int = 12) -> str:
    """The training loss at about ``lines`` moments of the run, each averaged over its stretch."""
    entries = [entry for entry in log if "loss" in entry]
    stretch = max(1, -(-len(entries) // lines))
    parts = [entries[start : start + stretch] for start in range(0, len(entries), stretch)]
    table = "\n".join(
        f"| {part[-1]['step']:,} | {part[-1]['seconds'] / 60:.0f} "
        f"| {sum(entry['loss'] for entry in part) / len(part):.4f} |"
        for part in parts
    )
    return f"## Training log\n\n| step | minutes | mean loss |\n|---|---|---|\n{table}\n"


def model_card(name: str, about: str, summary: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The whole card.

    Args:
        name: what `vml_fast.load_denoiser` takes.
        about: first paragraphs: what the prior is, its data and its license.
        summary: content of the run's ``summary.json``.
        log: lines of the run's ``log.jsonl``.

    Returns:
        Markdown.
    """
    teacher = summary["settings"].get("teacher")
    use = (
        USE.format(name=name)
        if teacher is None
        else USE_CONSISTENCY.format(name=name, teacher=teacher)
    )
    sections = [f"# {name}\n\n{about}", use, training_section(summary)]
    if summary.get("heldout_rmse"):
        sections.append(heldout_section(summary))
    if summary.get("flow_rmse"):
        sections.append(flow_section(summary))
    sections.append(log_section(log))
    return "\n".join(sections)
