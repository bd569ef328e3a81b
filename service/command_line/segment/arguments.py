"""The arguments of `glioserve segment`."""

import argparse
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"
MODALITIES = "t1", "t1gd", "t2", "flair"
DESCRIPTION = """Segment cases, with a running service or, with --local, in this process. Results that are there
already are not computed again. Exit status: 0 if all cases are done, 1 if one failed, 2 for wrong arguments, 130 if
interrupted."""


class UsageError(Exception):
    """Arguments that cannot be used."""


def add_segment(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the subcommand, and return its parser."""
    parser = subcommands.add_parser(
        "segment", help="segment cases: zips, folders of images or DICOM studies", description=DESCRIPTION
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a zip, the folder of one case, or a folder of zips and of such folders",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--bids", action="store_true", help="name the results as in a BIDS derivative dataset")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each case, and no progress")
    _add_service(parser)
    _add_options(parser)
    return parser


def _add_service(parser: argparse.ArgumentParser) -> None:
    service = parser.add_argument_group("service")
    service.add_argument("--url", help=f"its address; default: {DEFAULT_URL}")
    service.add_argument("--key-file", type=Path, metavar="FILE", help="file that contains an API key")
    service.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificate authority (PEM) of its certificate; default: those of the system",
    )
    service.add_argument(
        "--give-up-after",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long a request is repeated while the service is unreachable or full; default: 600",
    )
    service.add_argument(
        "--local", action="store_true", help="use no service: load the weights here; settings as of `glioserve serve`"
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("options of each case, as in the API")
    options.add_argument(
        "--enhancing-label",
        type=int,
        choices=[3, 4],
        default=4,
        help="label number of the enhancing tumour; default: 4",
    )
    options.add_argument("--probabilities", action="store_true", help="also write a probability map of each region")
    options.add_argument("--trust-names", action="store_true", help="accept images that seem to have wrong names")
    options.add_argument("--allow-missing", action="store_true", help="accept cases without all four modalities")
    options.add_argument("--prepare", choices=["auto", "always", "never"], default="auto", help="default: auto")
    options.add_argument("--grid", choices=[*MODALITIES, "working"], help="default: t1gd")
    options.add_argument("--prepared", action="store_true", help="also write the prepared images")
    options.add_argument(
        "--series", type=_series, default={}, metavar="MODALITY:NUMBER,...", help="series of DICOM studies, as t1gd:7"
    )
    options.add_argument(
        "--output", choices=["nifti", "dicom"], default="nifti", help="dicom: also write the result as DICOM objects"
    )


def _series(text: str) -> dict[str, int]:
    """SeriesNumbers by modality."""
    entries = [entry.partition(":") for entry in text.split(",")]
    names = [name for name, _, _ in entries]
    are_valid = all(name in MODALITIES and number.isdecimal() for name, _, number in entries)
    if not are_valid or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected modalities, each once, with numbers, as in t1gd:7, found {text}")
    return {name: int(number) for name, _, number in entries}
