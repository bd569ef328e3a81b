"""The bridge with a real archive: Orthanc, by DIMSE and by DICOMweb, while everything fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.archive_network import PLUGINS

ISOLATED = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "support.archive_network"]
RESULTS = {"Segmentation Storage": 1, "Comprehensive 3D SR Storage": 1, "Secondary Capture Image Storage": 23}

pytestmark = pytest.mark.skipif(
    not (shutil.which("Orthanc") and shutil.which("storescu") and Path(PLUGINS).exists()),
    reason="needs orthanc, orthanc-dicomweb and dcmtk",
)


@pytest.mark.parametrize(("protocol", "count"), [("dicom", 20), ("dicomweb", 1)])
def test_the_results_of_every_study_are_delivered_once(protocol, count, weights, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [*ISOLATED, tmp_path, weights, protocol, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["archive"]) == count
    for objects in found["archive"].values():
        images = {name: number for name, number in objects.items() if "MR Image" in name}
        assert images in ({"MR Image Storage": 200}, {"Enhanced MR Image Storage": 4})
        assert objects == images | RESULTS
    assert sorted(found["deliveries"].values()) == [1] * count
