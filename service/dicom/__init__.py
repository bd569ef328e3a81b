"""DICOM: the series of a study, which of them are T1, T1Gd, T2 and FLAIR, and their voxels."""
