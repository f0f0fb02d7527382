"""``mixit-mss COMMAND``: one door to every stage, opened only when it is asked for."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from collections.abc import Callable

from mixit_mss import __version__
from mixit_mss.errors import Preempted, UserError

COMMANDS = {
    "separate": "separate songs into stems with a trained model",
    "download": "stage 0: fetch FMA or MUSDB18-HQ, and check every byte",
    "segment": "stage 1: cut a corpus into segments and drop silence",
    "make-manifests": "stage 2: list what training and scoring read",
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


def run(
    main: Callable[[list[str] | None], object], name: str, argv: list[str] | None = None
) -> int:
    """Call one command's ``main``; turn what a user can mend into one sentence and status 1."""
    try:
        main(argv)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Preempted as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point of the ``mixit-mss`` command; returns the exit status."""
    if argv is None:
        argv = sys.argv[1:]
        atexit.register(gc.freeze)  # nobody needs a last look for cycles in all that was imported
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: mixit-mss COMMAND [OPTION ...]\n")
        print("\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()))
        print("\n`mixit-mss COMMAND --help` explains one command.")
        return 0
    if argv[0] == "--version":
        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(
            f"mixit-mss: no command '{argv[0]}'; choose one of {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 1
    module = importlib.import_module(f"mixit_mss.bin.{argv[0].replace('-', '_')}")
    return run(module.main, f"mixit-mss {argv[0]}", argv[1:])


if __name__ == "__main__":
    sys.exit(main())
