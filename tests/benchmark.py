"""What a warm case of BraTS size costs, by stage, against the limits that the README states."""

import resource
import sys
from statistics import median

import torch

from service.phantom import encode_phantom, make_phantom
from service.report import Stopwatch
from service.segmentation.pipeline import segment
from service.segmentation.volume import encode_nifti
from service.segmentation.weights import load_model
from service.settings import DEFAULT_WEIGHTS

RUNS = 5
MAX_SECONDS = 10
MAX_RESIDENT_MIB = 1536


def main() -> None:
    """Print the median of each stage and the peak of resident memory; fail where a limit is broken."""
    model = load_model(DEFAULT_WEIGHTS, torch.device("cpu"))
    files = encode_phantom(make_phantom())
    runs = []
    for _ in range(RUNS + 1):
        stopwatch = Stopwatch()
        segmentation = segment(files, model, stage=stopwatch.stage)
        with stopwatch.stage("encode"):
            encode_nifti(segmentation.labels)
        runs.append(stopwatch.timings_ms)
    warm = runs[1:]
    for stage in warm[0]:
        print(f"{stage:10} {median(run[stage] for run in warm):8.0f} ms")
    seconds = median(sum(run.values()) for run in warm) / 1000
    resident_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'a case':10} {seconds:8.1f} s   of {MAX_SECONDS}; median of {RUNS}, {torch.get_num_threads()} threads")
    print(f"{'memory':10} {resident_mib:8.0f} MiB of {MAX_RESIDENT_MIB}; peak resident, making the phantom included")
    sys.exit(seconds > MAX_SECONDS or resident_mib > MAX_RESIDENT_MIB)


if __name__ == "__main__":
    main()
