"""What a part of the fuzzing found."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """The number of inputs, their outcomes, and a line for each crash and hang."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
