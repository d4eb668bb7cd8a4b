"""The command line: ``python -m adarank_core``."""

import os
import sys

import typer

from adarank_core.commands.allocate import allocate
from adarank_core.commands.export import export
from adarank_core.commands.lab import lab
from adarank_core.commands.options import on_error_stream
from adarank_core.commands.score import score
from adarank_core.commands.train import compare, finetune
from adarank_core.commands.verify import verify
from adarank_core.errors import AdaRankError, quoted
from adarank_core.limits import hide_token

app = typer.Typer(
    help="Which LoRA rank each module of a pretrained model deserves, before any training.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (score, allocate, finetune, compare, export, verify, lab):
    app.command()(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0 when fine and 2 on bad input, said in one line.

    Examples
    --------
    >>> main(["allocate", "--scores", "missing.json"])
    2
    """
    hide_token()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait must not spin for long: with a page or another run on the same cores,
    # spinning made training three times slower. Read when torch is imported, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what cannot be shown is shown escaped, not lost
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(arguments or ["--help"], standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except AdaRankError as error:
        message = str(error)
    except typer.TyperException as error:
        message = error.format_message()
    except (KeyboardInterrupt, typer.Abort):
        on_error_stream.print("stopped", highlight=False)
        return 130
    except OSError as error:
        if error.strerror is None:
            raise
        what = "the output" if error.filename is None else quoted(error.filename)
        message = str(AdaRankError(f"{what} cannot be written or read ({error.strerror})"))
    message = " ".join(message.split())
    on_error_stream.print(f"error: {message}", highlight=False, markup=False, soft_wrap=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
