"""Copy-paste augmentation (not in the paper): paste the tumour of another slice into a slice."""

import torch
from torch import Tensor
from torch.nn import functional

from service.imaging.labels import BACKGROUND

BLENDING_WIDTH = 5  # pixels over which the donor slice fades into the host slice


def transplant(slices: Tensor, labels: Tensor, donor_slices: Tensor, donor_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Paste the donor's tumour into a slice (C, H, W) and its labels (1, H, W), at the same position, blended.

    Only pixels that are brain in both slices change. Where the donor's tumour covers a tumour of the host, it replaces
    it.
    """
    both_brain = ((slices != 0).any(dim=0) & (donor_slices != 0).any(dim=0))[None]
    lesion = (donor_labels != BACKGROUND) & both_brain
    margin = functional.avg_pool2d(lesion.float(), BLENDING_WIDTH, stride=1, padding=BLENDING_WIDTH // 2) * both_brain
    donor_weight = torch.maximum(margin, lesion.float())
    return slices.lerp(donor_slices, donor_weight), torch.where(lesion, donor_labels, labels)
