"""The command `vml-fast`: its subcommands, and how errors are shown."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vml_fast.cli.bench import bench
from vml_fast.cli.degrade import degrade
from vml_fast.cli.doctor import doctor
from vml_fast.cli.evaluate import app as evaluate
from vml_fast.cli.profile import profile
from vml_fast.cli.restore import restore
from vml_fast.cli.train_prior import train_prior
from vml_fast.errors import BackendUnavailable, InputError, MissingExtra
from vml_fast.evaluation.text import shorten


class OneSentence(TyperGroup):
    """Shows the package's own errors, and the file system's, as one sentence, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except (InputError, MissingExtra, BackendUnavailable) as error:
            typer.echo(f"error: {str(error).rstrip('.')}.", err=True)
            raise typer.Exit(2) from None
        except BrokenPipeError:  # a reader such as `head` has left; typer ends quietly
            raise
        except OSError as error:
            place = f"{shorten(error.filename, 120)}: " if error.filename else ""
            typer.echo(f"error: {place}{error.strerror or error}.", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    name="vml-fast",
    cls=OneSentence,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Restore images by MAP estimation with diffusion priors (VML-MAP).",
)


def _version(wanted: bool) -> None:
    if wanted:
        from vml_fast import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Restore images by MAP estimation with diffusion priors (VML-MAP)."""


app.command()(restore)
app.command()(degrade)
app.command()(bench)
app.command()(profile)
app.add_typer(evaluate, name="evaluate")
app.command()(doctor)
app.command("train-prior")(train_prior)
