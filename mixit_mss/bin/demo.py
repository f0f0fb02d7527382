"""A page on this machine: drop a song, hear its stems, download them."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

from mixit_mss.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss demo``."""
    parser = argparse.ArgumentParser(
        prog="mixit-mss demo",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Serve a page on which a song can be dropped, its stems heard and downloaded. "
        "Only this machine can reach it, unless --host says otherwise; nothing is sent anywhere, and "
        "all files are removed, at the latest when it ends (Ctrl-C). Needs gradio: pip install "
        "'mixit_mss[demo]'.",
    )
    parser.add_argument(
        "--model", required=True, metavar="FOLDER|hf:NAME|official:NAME", help="model"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--max-megabytes", type=float, default=200.0, help="larger uploads are turned away"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=15.0, help="longer songs are turned away"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    args = build_parser().parse_args(argv)
    if not 0 <= args.port < 65536:
        raise UserError(f"--port {args.port} must be from 0 to 65535")
    from mixit_mss.demo import Limits, import_gradio, serving
    from mixit_mss.models.opening import open_model, pick_device

    import_gradio()
    limits = Limits(args.max_megabytes, args.max_minutes)
    device = pick_device(args.device)
    model: Any = open_model(args.model)
    model = model.to(device).eval()
    # files are removed on the way out, however it ends
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with serving(model, "Separate a song", limits, args.host, args.port) as address:
        print(f"{address} is open; Ctrl-C ends it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("closed, and its files removed")


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "demo"))
