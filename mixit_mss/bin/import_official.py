"""Convert the weights published by the paper's authors into a model folder."""

from __future__ import annotations

import argparse
import sys

from mixit_mss.bin import arguments
from mixit_mss.bin.main import run


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss import-official``."""
    parser = arguments.Parser(
        prog="mixit-mss import-official",
        description="Fetch a published network by name, or read a model.pth or Lightning .ckpt that "
        "is at hand, check every tensor, and write it as a model folder for `mixit-mss separate`. "
        "The weights belong to their authors.",
    )
    parser.add_argument(
        "source",
        type=arguments.any_path,
        metavar="NAME",
        help="published name, or a file; `list` lists names",
    )
    parser.add_argument("--out", type=arguments.output_folder, help="model folder to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Import the weights and save the model folder."""
    args = build_parser().parse_args(argv)
    from mixit_mss.errors import UserError
    from mixit_mss.models.hub import save_model
    from mixit_mss.models.hub.published import NAMES, NOTICE, REPOSITORY, REVISION, import_official

    if args.source == "list":
        print("\n".join(NAMES))
        return
    if not args.out:
        raise UserError("--out is missing: name the model folder to write")
    model = import_official(args.source)
    origin = f"huggingface.co/{REPOSITORY} at {REVISION}, {args.source}"
    save_model(model, args.out, {"origin": origin, "licence": "not stated by its authors"})
    print(f"{args.out}: {model.num_sources} outputs; {NOTICE}")


if __name__ == "__main__":
    sys.exit(run(main, "import-official"))
