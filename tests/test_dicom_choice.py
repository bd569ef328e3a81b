"""The choice of a study's series."""

import numpy as np
import pytest
from support.dicom_files import SEQUENCES, encode_all, make_series, make_study
from test_dicom import RNG, check_same, read, volume, volumes

from service.imaging.case import Modality
from service.imaging.errors import ModalityError
from service.imaging.volume import Volume


def test_the_case_says_which_series_it_uses():
    case = read(make_study(volumes()))
    assert {modality: series.number for modality, series in case.series.items()} == dict(
        zip(Modality, range(2, 6), strict=True)
    )
    assert case.series[Modality.T1GD].reason == "TR below 1500 and TE below 40 ms, with contrast agent"


def test_several_acquisitions_in_one_series_are_parted():
    expected = volumes()
    series = [make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)]
    later = make_series(volume(), 3, **SEQUENCES[Modality.FLAIR])
    for acquisition, datasets in enumerate((series[3], later), start=1):
        for dataset in datasets:
            dataset.SeriesInstanceUID, dataset.AcquisitionNumber = series[3][0].SeriesInstanceUID, acquisition
    with pytest.raises(ModalityError, match="FLAIR: expected one image in series 3, found 2 that are equally good"):
        read(encode_all(*series, later))
    for dataset in later:
        dataset.ImageType = ["DERIVED", "SECONDARY"]
    check_same(read(encode_all(*series, later)).images[Modality.FLAIR], expected[Modality.FLAIR])


def test_two_equally_good_series_are_a_question_to_the_caller():
    expected = volumes()
    again = make_series(volume(), 7, **SEQUENCES[Modality.T1])
    files = encode_all(*(make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)), again)
    with pytest.raises(ModalityError, match=r"several that are equally good: 0, 7. Choose one, as in \?series=t1:0"):
        read(files)
    check_same(read(files, T1=0).images[Modality.T1], expected[Modality.T1])


def test_a_finer_series_of_the_whole_head_is_better():
    expected = volumes()
    fine, slab = (Volume(RNG.integers(0, 9, shape).astype(np.int16), np.eye(4)) for shape in ((9, 9, 120), (9, 9, 20)))
    others = [make_series(image, 7 + n, **SEQUENCES[Modality.T2]) for n, image in enumerate((fine, slab))]
    series = [make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)]
    check_same(read(encode_all(*series, *others)).images[Modality.T2], fine)
    check_same(read(encode_all(*series, *others), T2=2).images[Modality.T2], expected[Modality.T2])


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "PatientID"])
def test_two_studies_are_not_mixed(keyword):
    expected = volumes()
    series = [make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)]
    for dataset in (*series[2], *series[3]):
        setattr(dataset, keyword, "1.2.9")
    with pytest.raises(ModalityError, match="expected one study of one patient, found 2, with the series 0, 1; 2, 3"):
        read(encode_all(*series))
