"""Diagnose the outputs of a network on songs with known stems."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.imports import importing

SUMMARY, CHUNKS, FIGURE = "diagnosis.json", "chunks.csv", "diagnosis.svg"
DETAILS = """\
It writes
  diagnosis.json  the means: active_outputs, degenerate_share (chunks in which a
                  single output reproduces the whole mixture), snr,
                  snr_improvement, grouped_snr (of the best groups of outputs)
                  and their _per_stem, outputs_per_stem (over-separation if more
                  than 1), stems_per_output (under-separation if more than 1),
                  shares, contents, and the stems' waveform_correlation,
                  spectral_overlap and onset_correlation
  chunks.csv      the same of every chunk
  diagnosis.svg   who carries what

examples:
  mixit-mss diagnose --model exp/pretrain/model --manifest manifests/labelled --out diagnosis
  mixit-mss diagnose --model official:mixit.fma-large.bslocoformer-medium.12outputs
      --manifest manifests/labelled --stems vocals,drums,bass,other --out diagnosis
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss diagnose``."""
    parser = arguments.Parser(
        prog="mixit-mss diagnose",
        formatter_class=arguments.Help,
        description="""\
Examine the outputs of a network on songs whose stems are known: how many
outputs are active, which of them share a stem (over-separation), which mix
several stems (under-separation) or reproduce the whole mixture, how well single
outputs and the best groups of outputs match the stems, and how correlated the
stems are. Made for networks that were trained without labels, but works for any.
The songs are cut into chunks, and each mixture is the sum of the stems.""",
        epilog=DETAILS,
    )
    parser.add_argument(
        "--model",
        type=arguments.model,
        required=True,
        metavar="FOLDER",
        help="model folder, hf:USER/NAME on the Hugging Face hub, or official:NAME for weights that "
        "the paper's authors published (`mixit-mss import-official list` lists them)",
    )
    parser.add_argument(
        "--manifest", type=arguments.any_path, required=True, help="such as manifests/labelled"
    )
    parser.add_argument(
        "--split", type=arguments.filled, default="test", help="which songs of --manifest"
    )
    parser.add_argument(
        "--stems",
        type=arguments.stems,
        metavar="A,B,...",
        help="names, of any number; all that the songs have if left out",
    )
    parser.add_argument(
        "--out", type=arguments.any_path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--chunk-seconds",
        type=arguments.ranged(limits.CHUNK_SECONDS),
        default=6.0,
        help="length of a chunk",
    )
    parser.add_argument(
        "--active-db",
        type=arguments.number(0, 200, "of dB", above=True),
        default=30.0,
        help="an output or a stem sounds in a chunk if it is at most so far below the mixture; 30 "
        "is where the training's loss is clamped",
    )
    parser.add_argument(
        "--degenerate-db",
        type=arguments.number(0, 200, "of dB", above=True),
        default=10.0,
        help="an output reproduces the whole mixture if its SNR against it is at least this",
    )
    parser.add_argument(
        "--device", type=arguments.device, default="auto", help="auto, cpu, cuda, cuda:1, mps"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Diagnose the network, write the results and print a summary."""
    args = build_parser().parse_args(argv)
    out = Path(args.out)
    with importing():
        from mixit_mss.data.manifest import read_manifest
        from mixit_mss.diagnosis.songs import describe, diagnose, summarise
        from mixit_mss.files import sweep, write_json
        from mixit_mss.models.hub.opening import open_model, pick_device
        from mixit_mss.separation.songs import below_rate
        from mixit_mss.stamps import Fingerprint, replaced_folder, require_ours

    manifest = read_manifest(args.manifest)
    options = {key: value for key, value in vars(args).items() if key not in ("device", "out")}
    weights, name = _weights(args.model)
    request = Fingerprint(
        "diagnose",
        {**options, "model": name, "manifest": None},
        weights,
        {"songs": manifest.digest(args.split)},
    )
    if request.is_done(out):
        print(f"{out}: nothing changed, nothing to do")
        return
    require_ours(out)
    songs = manifest.select(split=args.split)
    stems = _stems(args.stems, [stem for stem in songs.stems() if stem != "mixture"])
    device = pick_device(args.device)
    model = open_model(args.model).to(device).eval()
    if note := below_rate(songs, model.sample_rate):
        print(note)
    table = diagnose(model, songs, stems, args.chunk_seconds, args.active_db, device)
    summary = summarise(table, stems, args.degenerate_db)
    print(describe(summary))

    from mixit_mss.report.figures.diagnosis import draw_diagnosis

    sweep(out.parent)  # left by killed processes
    with replaced_folder(out) as partial:
        table.to_csv(partial / CHUNKS, index=False, lineterminator="\n", float_format="%.6g")
        title = f"{args.model}: {summary['songs']} songs, {summary['chunks']} chunks"
        draw_diagnosis(partial / FIGURE, summary, title)
        write_json(partial / SUMMARY, {**options, **summary})
        request.mark_done(partial, [partial / name for name in (CHUNKS, FIGURE, SUMMARY)])


def _weights(model: str) -> tuple[dict[str, Path], str | None]:
    """The files of a local network, by role, or the name of a remote one."""
    from mixit_mss.files import CONFIG, WEIGHTS
    from mixit_mss.models.hub.opening import OFFICIAL

    path = Path(model.removeprefix(OFFICIAL))
    if path.is_file():
        return {WEIGHTS: path}, None
    if path.is_dir():
        return {name: path / name for name in (WEIGHTS, CONFIG)}, None
    return {}, model


def _stems(wanted: str | None, known: list[str]) -> list[str]:
    names = known if wanted is None else [name.strip() for name in wanted.split(",")]
    if not known:
        raise UserError("--manifest has no stems in this split: choose another --split")
    if not all(names) or len(set(names)) < len(names) or "mixture" in names:
        raise UserError(f"--stems {wanted!r}: give different names of stems, separated by commas")
    if len(names) < 2:
        raise UserError(f"{names[0]} alone is no mixture: give two --stems or more")
    return names


if __name__ == "__main__":
    sys.exit(run(main, "diagnose"))
