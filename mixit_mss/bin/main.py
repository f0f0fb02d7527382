"""``mixit-mss COMMAND``: the entry point of every stage; imports only the called command."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
import traceback
from collections.abc import Callable
from functools import partial

from mixit_mss import __version__, failures
from mixit_mss.errors import Preempted, UsageError, UserError

COMMANDS = {
    "separate": "separate songs into stems with a trained model",
    "download": "stage 0: fetch FMA or MUSDB18-HQ, and check every byte",
    "render-songs": "stage 0: songs of a MIDI band, with and without stems",
    "segment": "stage 1: cut a corpus into segments and drop silence",
    "make-manifests": "stage 2: list what training and scoring read",
    "check": "before stage 3: do configs, network, stems and splits fit together",
    "plan": "what a training run will cost before it starts",
    "pretrain": "stage 3: mixture-invariant training on unlabelled songs",
    "select-channels": "stage 4: keep the outputs that the stems vote for",
    "diagnose": "what the outputs of a network do on songs with known stems",
    "finetune": "stage 5: supervised training on stems",
    "score": "stage 6: uSDR and cSDR of estimates against references",
    "import-official": "the weights that the paper's authors published, as a model folder",
    "report": "stage 6: tables, figures and pages of one or several experiments",
    "curves": "losses and scores of trainings as a picture",
    "demo": "a page on this machine to drop songs on and hear their stems",
    "dispatch": "another command as jobs of a SLURM cluster",
}


DEBUG = "--debug"


def run(
    main: Callable[[list[str] | None], object], name: str, argv: list[str] | None = None
) -> int:
    """Call a command's ``main``, and turn any failure into one sentence and an exit status.

    With ``--debug`` anywhere before ``--``, the traceback is printed above the sentence.

    Args:
        main: the command's function.
        name: the command's name, with which the sentence begins.
        argv: its arguments; those of the program if None.

    Returns:
        0 for success, 1 for an error, 2 for an invalid command line, or 128 plus the number of the
        signal that stopped it.

    Raises:
        SystemExit: the command exits with a status of its own.
    """
    failures.open_streams()
    argv, debug = _take_debug(sys.argv[1:] if argv is None else argv)
    try:
        try:
            main(argv)
        except SystemExit:
            failures.flush()
            raise
        failures.flush()
    except Preempted as stop:
        failures.say(f"{name}: {stop}")
        return 128 + stop.signum
    except KeyboardInterrupt:
        failures.say(f"{name}: interrupted; run the same command again to go on")
        return 130
    except Exception as error:
        if debug:
            failures.say("".join(traceback.format_exception(error)).rstrip())
        failures.say(f"{name}: {failures.explain(error, name)}")
        failures.drop_unwritable_output()
        return 2 if isinstance(error, UsageError) else 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point of the ``mixit-mss`` command; returns the exit status."""
    if argv is None:
        argv = sys.argv[1:]
        atexit.register(gc.freeze)  # skip the final garbage collection over everything imported
    _, debug = _take_debug(argv)
    while argv and argv[0] == DEBUG:
        argv = argv[1:]
    if argv and argv[0] in COMMANDS:
        command, words = argv[0], [*argv[1:]]
        return run(partial(_call, command), f"mixit-mss {command}", [DEBUG] * debug + words)
    return run(_without_command, "mixit-mss", argv)


def _call(command: str, argv: list[str] | None) -> None:
    importlib.import_module(f"mixit_mss.bin.{command.replace('-', '_')}").main(argv)


def _without_command(argv: list[str] | None) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: mixit-mss COMMAND [OPTION ...]\n")
        print("\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()))
        print("\n`mixit-mss COMMAND --help` explains one command.")
    elif argv[0] == "--version":
        print(__version__)
    else:
        known = ", ".join(COMMANDS)
        raise UserError(f"no command {argv[0][:100]!r}; choose one of {known}")


def _take_debug(argv: list[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, and whether it was there; those after ``--`` stay."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    return [word for word in own if word != DEBUG] + argv[len(own) :], DEBUG in own


if __name__ == "__main__":
    sys.exit(main())
