"""Coverage-guided fuzzing of the upload readers with atheris (libFuzzer).

    PYTHONPATH=tests python -m fuzz.coverage CORPUS [options of libFuzzer]

An input is one byte for its kind, followed by a zip, a NIfTI file, a DICOM file of a study, or the bytes from which
hypothesis generates an upload.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import monotonic

import atheris

with atheris.instrument_imports(include=["nibabel", "pydicom", "service", "zipfile"]):
    from hypothesis import given
    from support.case_files import MODALITY_NAMES, make_zip

    from fuzz.corpus import corpus, make_image, studies
    from fuzz.findings import Findings
    from fuzz.generated_uploads import uploads
    from fuzz.readers import HANG_S, MEMORY_FOLDER, read
    from service.intake.archive import ZIP_NAME
    from service.intake.decoder_process import confine
    from service.machine.process import silence_libraries

ZIP, IMAGE, DICOM, GENERATED = KINDS = range(4)
MAX_INPUT_BYTES = 2**13
FUZZED_MODALITY = "t2"
SHUTDOWN_S = 60


def fuzz_coverage(seed: int, seconds: float, out: Path) -> tuple[Findings, float]:
    """Fuzz in a process of its own for this many seconds; return the findings and the duration."""
    seeds = out / "corpus"
    rmtree(seeds, ignore_errors=True)
    seeds.mkdir()
    for number, data in enumerate(seed_inputs()):
        (seeds / str(number)).write_bytes(data)
    options = {
        "max_total_time": int(seconds),
        "seed": seed,
        "timeout": HANG_S,
        "max_len": MAX_INPUT_BYTES,
        "rss_limit_mb": 0,  # the process limits itself, like the decoder process
        "artifact_prefix": f"{out}/coverage-",
    }
    command = [sys.executable, "-m", "fuzz.coverage", seeds, *(f"-{name}={value}" for name, value in options.items())]
    started = monotonic()
    log = out / "coverage.log"
    with log.open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=seconds + SHUTDOWN_S)
    findings, text = Findings(), log.read_text(errors="replace")
    if runs := re.search(r"^Done (\d+) runs", text, re.MULTILINE):
        findings.inputs = int(runs[1])
    if done.returncode:
        kind = findings.hangs if "libFuzzer: timeout" in text else findings.crashes
        kind.append(f"exit status {done.returncode}: {log}")
    return findings, monotonic() - started


def seed_inputs() -> list[bytes]:
    """The initial corpus."""
    zips, cases = corpus()
    images = {data for case in cases for data in case.values()}
    by_kind = {
        ZIP: [upload[ZIP_NAME] for upload in zips],
        IMAGE: images,
        DICOM: [data for study in studies() for data in study.values()],
    }
    return [bytes([kind]) + data for kind, inputs in by_kind.items() for data in inputs]


def fuzz_forever() -> None:
    """Fuzz until libFuzzer ends the process."""
    confine()
    silence_libraries()
    with TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        folder = Path(name)
        read_generated = given(uploads())(lambda upload: read(upload, folder)).hypothesis.fuzz_one_input
        images = {name: make_image((3, 3, 3)) for name in MODALITY_NAMES if name != FUZZED_MODALITY}
        _, *files = studies()[0].values()

        def try_one(data: bytes) -> None:
            kind, rest = (data[0] % len(KINDS), data[1:]) if data else (ZIP, b"")
            if kind == GENERATED:
                read_generated(rest)
            elif kind == IMAGE:
                read(images | {FUZZED_MODALITY: rest}, folder)
            else:
                study = {str(number): file for number, file in enumerate((rest, *files))}
                read({ZIP_NAME: rest if kind == ZIP else make_zip(study)}, folder)

        atheris.Setup(sys.argv, try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    fuzz_forever()
