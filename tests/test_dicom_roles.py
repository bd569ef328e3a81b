"""Which modality a series is, by its attributes: real combinations of several vendors, with and without timing."""

import pytest
from support.dicom_files import SEQUENCES

from service.dicom.frames import Frame
from service.dicom.roles import role_of
from service.imaging.case import Modality

WITHOUT_CONTRAST = (
    *("vor KM", "KM-", "tra o. KM", "ante KM", "no contrast", "before contrast", "-gd pre", "GAD-", "nativ", "plain"),
    *(
        "avant injection",
        "sans gado",
        "antes de contraste",
        "prima del contrasto",
        "voor contrast",
        "post op",
        "POST-OP FU",
    ),
)
WITH_CONTRAST = (
    *("nach KM", "mit KM", "+C", "C+", "post", "con cte", "C/C", "CIV", "W/WO", "ohne und mit KM", "post op mit KM"),
    *("après gado", "dopo mdc", "na contrast", "with contrast"),
)

# Description, ScanningSequence, TR, TE and TI in milliseconds (0: unknown), contrast agent, and the role.
SERIES = [
    ("t1_mprage_sag_iso", "GR\\IR", 2300, 2.98, 900, "", "T1"),
    ("t1_mprage_tra KM", "GR\\IR", 1900, 2.5, 900, "", "T1Gd"),
    ("Sag T1 FSPGR BRAVO", "GR", 8.2, 3.2, 450, "", "T1"),
    ("AX 3D T1 POST", "RM", 8.2, 3.2, 450, "", "T1Gd"),
    ("T1W_SE", "SE", 600, 15, 0, "", "T1"),
    ("T1W_SE", "SE", 600, 15, 0, "Dotarem", "T1Gd"),
    ("T1 ohne KM", "SE", 600, 15, 0, "Gadovist", "T1"),
    ("T1 sin contraste", "SE", 600, 15, 0, "", "T1"),
    ("t1_se_tra+c", "SE", 600, 15, 0, "", "T1Gd"),
    ("SAG T1 FLAIR", "SE\\IR", 2200, 24, 860, "", "T1"),
    ("AX T1 POST GD FLAIR", "SE\\IR", 2500, 9, 900, "GAD", "T1Gd"),
    ("sT1W_3D_TFE", "GR", 7.1, 3.2, 0, "NONE", "T1"),
    ("t2_tirm_tra_dark-fluid", "SE\\IR", 9000, 81, 2500, "", "FLAIR"),
    ("Sag CUBE T2 FLAIR", "RM", 6500, 130, 1900, "MULTIHANCE", "FLAIR"),
    ("3D_Brain_VIEW_FLAIR", "SE", 4800, 300, 1650, "", "FLAIR"),
    ("FLAIR_longTR", "SE", 11000, 125, 0, "", "FLAIR"),
    ("t2_tse_tra", "SE", 4500, 95, 0, "", "T2"),
    ("T2 SPACE", "SE", 3200, 409, 0, "Gadovist", "T2"),
    ("STIR cor", "SE\\IR", 4500, 60, 150, "", None),
    ("PD", "SE", 3000, 20, 0, "", None),
    ("t2_fl2d_tra_hemo", "GR", 620, 20, 0, "", None),
    ("SWI_Images", "GR", 28, 20, 0, "", None),
    ("TOF_3D_multi-slab", "GR", 22, 3.8, 0, "", None),
    ("ep2d_diff_3scan_trace_p2", "EP", 5000, 90, 0, "", None),
    ("DWI b1000", "EP\\SE", 5000, 90, 0, "", None),
    ("Perfusion_DSC", "EP\\GR", 1500, 30, 0, "GADOVIST", None),
    ("localizer", "GR", 20, 5, 0, "", None),
    ("3-plane scout", "GR", 8, 3, 0, "", None),
    ("T1 MIP cor", "GR", 8, 3, 450, "", None),
    *((f"T1 {words}", "SE", 600, 15, 0, "", "T1") for words in WITHOUT_CONTRAST),
    *((f"T1 {words}", "SE", 600, 15, 0, "", "T1Gd") for words in WITH_CONTRAST),
    *(("T1", "SE", 600, 15, 0, agent, "T1") for agent in ("NO CONTRAST", "KEIN KM", "ohne", "-", "None")),
    ("T1 FLAIR", "", 0, 0, 0, "", "T1"),
    ("AX T1", "", 0, 0, 0, "", "T1"),
    ("T1 post Gd", "", 0, 0, 0, "", "T1Gd"),
    ("Axial T2 FLAIR", "", 0, 0, 0, "", "FLAIR"),
    ("T2W_TSE", "", 0, 0, 0, "", "T2"),
    ("T2*", "", 0, 0, 0, "", None),
    ("Serie 4", "", 0, 0, 0, "", None),
]


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series[0])
def test_a_series_is_recognised(series):
    description, sequence, repetition, echo, inversion, agent, role = series
    times = {"RepetitionTime": repetition, "EchoTime": echo, "InversionTime": inversion}
    attributes = {name: time for name, time in times.items() if time}
    texts = {"SeriesDescription": description, "ScanningSequence": sequence, "ContrastBolusAgent": agent}
    found, reason = role_of(Frame("file", 0, attributes | texts))
    assert found == role, reason


@pytest.mark.parametrize("modality", Modality)
def test_the_timing_decides_without_a_description(modality):
    attributes = {name: value for name, value in SEQUENCES[modality].items() if name != "SeriesDescription"}
    assert role_of(Frame("file", 0, attributes))[0] == modality


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"DiffusionBValue": 1000}, "a diffusion image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "a map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "a projection, difference or phase image"),
        ({"SequenceName": "*ep_b0"}, "a diffusion or echo-planar image"),
        ({"EchoTime": "none", "RepetitionTime": "none"}, "neither timing nor description name a modality"),
    ],
)
def test_what_is_not_anatomy_is_not_used(attributes, reason):
    assert role_of(Frame("file", 0, attributes)) == (None, reason)
