"""Lesion transplantation, beyond the paper: another patient's tumour pasted into a slice that has none there."""

import torch
from torch import Tensor
from torch.nn import functional

SEAM = 5  # pixels over which the donor fades into the host


def transplant(slices: Tensor, labels: Tensor, donor_slices: Tensor, donor_labels: Tensor) -> tuple[Tensor, Tensor]:
    """A slice (C, H, W) and its labels (1, H, W) with the donor's tumour at its own place, within a soft seam.

    Only where host and donor both have brain; a host that has a tumour of its own keeps what the new one leaves of it.
    """
    both_brain = ((slices != 0).any(dim=0) & (donor_slices != 0).any(dim=0))[None]
    lesion = (donor_labels > 0) & both_brain
    seam = functional.avg_pool2d(lesion.float(), SEAM, stride=1, padding=SEAM // 2) * both_brain
    share = torch.maximum(seam, lesion.float())
    return slices.lerp(donor_slices, share), torch.where(lesion, donor_labels, labels)
