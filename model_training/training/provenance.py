"""Provenance of trained weights: the inputs of the run, and the model card that records them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from model_training.augmentation.intensity import MAX_DROPPED
from model_training.data.prepare import Cases
from model_training.recipe import Recipe
from service.imaging.labels import Region
from service.networks.model import Model
from service.networks.model_card import ModelCard

MIN_CONFIDENT_FRACTION = {Region.ET: 0.8}  # until `choose` writes that of the validation cases (docs/results.md)


@dataclass(frozen=True)
class Provenance:
    """All inputs of a run."""

    recipe: Recipe
    cases: Cases
    initial_weights: Model | None

    def run_inputs(self) -> dict[str, Any]:
        """The inputs as JSON values, by file name in the run's folder."""
        return {
            "recipe.json": self.recipe.model_dump(mode="json"),
            "split.json": self._case_names(),
            "initial_weights.json": _origin(self.initial_weights) if self.initial_weights else None,
        }

    def card(self, regions: tuple[Region, ...], epochs: int, steps: int) -> ModelCard:
        """Return the model card of the network for these regions after this many epochs and steps."""
        return ModelCard(
            name=self.recipe.name,
            version=self.recipe.version,
            regions=regions,
            width=self.recipe.network.width,
            depth=self.recipe.network.depth,
            slice_offsets=self.recipe.network.slice_offsets,
            min_confident_fraction={
                str(region): MIN_CONFIDENT_FRACTION[region] for region in regions if region in MIN_CONFIDENT_FRACTION
            },
            max_missing=MAX_DROPPED if self.recipe.augmentation.modality_dropout else 0,
            licence=self.recipe.about.licence,
            attribution=self.recipe.about.attribution,
            intended_use=self.recipe.about.intended_use,
            training=self._training_record(epochs, steps),
        )

    def _training_record(self, epochs: int, steps: int) -> dict[str, Any]:
        """The training section of a model card."""
        names = self._case_names()
        record = {
            "recipe": self.recipe.model_dump(mode="json", exclude={"about"}),
            "seed": self.recipe.training.seed,
            "epochs": epochs,
            "steps": steps,
            "split_sha256": hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest(),
            "cases": names["train"],
            "chosen_on": names["validation"],
        }
        if self.initial_weights:
            record["initial_weights"] = _origin(self.initial_weights)
        return record

    def _case_names(self) -> dict[str, list[str]]:
        return {subset: [case.name for case in members] for subset, members in self.cases.items()}


def _origin(model: Model) -> dict[str, Any]:
    return {"sha256": model.sha256, "training": [checkpoint.card.training for checkpoint in model.checkpoints]}
