"""A local web page: drop a song, hear its stems, download them."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

from mixit_mss.bin import arguments


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss demo``."""
    parser = arguments.Parser(
        prog="mixit-mss demo",
        formatter_class=arguments.Help,
        description="Serve a page on which a song can be dropped, its stems heard and downloaded. "
        "Only this machine can reach it, unless --host says otherwise, and it answers only where it is "
        "called by a name or address of this machine or by that of --host; nothing is sent anywhere, and "
        "all files are removed, at the latest when it ends (Ctrl-C). Needs gradio: pip install "
        "'mixit_mss[demo]'.",
    )
    parser.add_argument(
        "--model",
        type=arguments.model,
        required=True,
        metavar="FOLDER|hf:NAME|official:NAME",
        help="model",
    )
    parser.add_argument(
        "--host", type=arguments.filled, default="127.0.0.1", help="address to listen on"
    )
    parser.add_argument(
        "--port", type=arguments.whole(0, 65535), default=7860, help="port to listen on"
    )
    parser.add_argument(
        "--max-megabytes",
        type=arguments.number(0, 1e6, above=True),
        default=200.0,
        help="larger uploads are turned away",
    )
    parser.add_argument(
        "--max-minutes",
        type=arguments.number(0, 1440, above=True),
        default=15.0,
        help="longer songs are turned away",
    )
    parser.add_argument(
        "--device", type=arguments.device, default="auto", help="auto, cpu, cuda, cuda:1, mps"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    args = build_parser().parse_args(argv)
    from mixit_mss.models.hub.opening import open_model, pick_device
    from mixit_mss.separation.demo import Limits, require_gradio, serving

    require_gradio()
    limits = Limits(args.max_megabytes, args.max_minutes)
    device = pick_device(args.device)
    model: Any = open_model(args.model)
    model = model.to(device).eval()
    # exit normally on SIGTERM, so that files are removed
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
