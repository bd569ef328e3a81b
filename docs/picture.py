"""Draw docs/result.png: the synthetic case, its ground truth, and its segmentation with the bundled weights."""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap

from service.imaging.case import GROUND_TRUTH
from service.imaging.labels import NECROTIC_CORE, OEDEMA, EnhancingLabel
from service.imaging.phantom import encode_phantom, make_phantom
from service.networks.checkpoints import load_model
from service.segmentation.pipeline import segment
from service.settings import DEFAULT_WEIGHTS

AXIAL_SLICE = 97
LABELS = {  # name and colour by label number
    NECROTIC_CORE: ("necrotic core", "tab:blue"),
    OEDEMA: ("oedema", "tab:green"),
    EnhancingLabel.BRATS_2022: ("enhancing tumour", "tab:red"),
}
COLOURS = [LABELS.get(number, ("", "none"))[1] for number in range(max(LABELS) + 1)]


def main() -> None:
    """Segment the phantom and draw one axial slice, with the patient's right side on the left."""
    phantom = make_phantom()
    segmentation = segment(encode_phantom(phantom), load_model(DEFAULT_WEIGHTS, torch.device("cpu")))
    panels = {
        "FLAIR": None,
        "T1Gd": None,
        "ground truth": phantom[GROUND_TRUTH],
        "GlioServe": segmentation.labels,
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 4), layout="constrained")
    for axis, (title, labels) in zip(axes, panels.items(), strict=True):
        background = phantom[title if labels is None else "FLAIR"].voxels[48:192, 34:210, AXIAL_SLICE].T
        axis.imshow(background, cmap="gray")
        if labels is not None:
            overlay = labels.voxels[48:192, 34:210, AXIAL_SLICE].T
            axis.imshow(
                overlay, cmap=ListedColormap(COLOURS), vmin=0, vmax=max(LABELS), alpha=0.6, interpolation="nearest"
            )
        axis.set_title(title)
        axis.axis("off")
    patches = [plt.Rectangle((0, 0), 1, 1, color=colour) for _, colour in LABELS.values()]
    figure.legend(patches, [name for name, _ in LABELS.values()], loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(Path(__file__).with_name("result.png"), dpi=100)


if __name__ == "__main__":
    main()
