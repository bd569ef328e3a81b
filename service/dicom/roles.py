"""Which modality a series is, by rules on the attributes that scanners write."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.frames import Frame
from service.imaging.case import Modality

FOREVER = float("inf")
Range = tuple[float, float]  # milliseconds, without the upper end
NOT_INVERTED: Range = (0, 0)


@dataclass(frozen=True)
class Rule:
    """The role of a series that meets all conditions, and the reason in words. Without a role, it is not used.

    A condition on a time is met only if the series has it; NOT_INVERTED, if it has no inversion time.
    """

    role: Modality | None
    reason: str
    image_type: Sequence[str] = ()  # one of these values of ImageType
    says: str = ""  # a regular expression that matches from the start of a word of the description
    echo_ms: Range | None = None
    repetition_ms: Range | None = None
    inversion_ms: Range | None = None
    is_gradient_echo: bool = False
    has_b_value: bool = False

    def applies(self, frame: Frame) -> bool:
        """Whether a frame's series meets all conditions."""
        return (
            (not self.image_type or not set(self.image_type).isdisjoint(frame.text("ImageType").upper().split("\\")))
            and (not self.says or bool(re.search(rf"(?<![a-z])(?:{self.says})", description_of(frame))))
            and _within(frame.number("EchoTime"), self.echo_ms)
            and _within(frame.number("RepetitionTime"), self.repetition_ms)
            and _within(frame.number("InversionTime") or None, self.inversion_ms)
            and (not self.is_gradient_echo or is_gradient_echo(frame))
            and (not self.has_b_value or frame.number("DiffusionBValue") is not None)
        )


# T1 stands for T1 and T1Gd: the contrast agent tells them apart. The first rule that applies decides. Where the timing
# is known, it decides, as people write the descriptions, but scanners the timing.
LONG_ECHO, LONG_REPETITION = (60, FOREVER), (1800, FOREVER)
RULES: Sequence[Rule] = (
    Rule(None, "a localiser", image_type=("LOCALIZER", "SCOUT")),
    Rule(None, "a localiser", says="locali[sz]er|scout|survey|topogram"),
    Rule(None, "a diffusion image", has_b_value=True),
    Rule(None, "a diffusion or echo-planar image", says=r"dwi|dti|adc|trace|ep2d|diff|\*ep|epi\b"),
    Rule(None, "a map", image_type=("ADC", "FA", "TRACEW", "DIFFUSION", "PERFUSION", "CBV", "CBF", "MTT", "TTP")),
    Rule(
        None,
        "a projection, difference or phase image",
        image_type=("PROJECTION IMAGE", "SUBTRACTION", "SUB", "PHASE", "P"),
    ),
    Rule(None, "a perfusion image by its description", says="perf|pwi|asl|dsc|dce|r?cbv|r?cbf"),
    Rule(None, "an image of vessels or susceptibility by its description", says="swi|swan|tof|mra|angio|venogr"),
    Rule(None, "no anatomical image by its description", says=r"mrs|spectro|bold|fmri|mip|sub\b|subtr|phase|\w*map\b"),
    Rule(
        Modality.FLAIR,
        "TI from 1550, TR from 3500 and TE from 40 ms",
        inversion_ms=(1550, FOREVER),
        repetition_ms=(3500, FOREVER),
        echo_ms=(40, FOREVER),
    ),
    Rule(Modality.T1, "TI of 300 to 1550 and TE below 15 ms", inversion_ms=(300, 1550), echo_ms=(0, 15)),
    Rule(
        Modality.T1,
        "TI of 500 to 1550, TR below 3500 and TE below 40 ms (T1 FLAIR)",
        inversion_ms=(500, 1550),
        repetition_ms=(0, 3500),
        echo_ms=(0, 40),
    ),
    Rule(None, "a gradient echo with a TE from 15 ms (T2*)", is_gradient_echo=True, echo_ms=(15, FOREVER)),
    Rule(Modality.T1, "a gradient echo with a TE below 15 ms", is_gradient_echo=True, echo_ms=(0, 15)),
    Rule(Modality.T1, "TR below 1500 and TE below 40 ms", repetition_ms=(0, 1500), echo_ms=(0, 40)),
    Rule(
        Modality.FLAIR,
        "TR from 1800 and TE from 60 ms, and FLAIR by its description",
        repetition_ms=LONG_REPETITION,
        echo_ms=LONG_ECHO,
        inversion_ms=NOT_INVERTED,
        says="flair|dark.?fl|tirm",
    ),
    Rule(
        Modality.T2,
        "TR from 1800 and TE from 60 ms without inversion",
        repetition_ms=LONG_REPETITION,
        echo_ms=LONG_ECHO,
        inversion_ms=NOT_INVERTED,
    ),
    Rule(None, "a timing of none of the modalities", repetition_ms=(1e-6, FOREVER), echo_ms=(1e-6, FOREVER)),
    Rule(Modality.T1, "T1 by its description, without timing", says=r"t1[\W_]*(?:w[\W_]*)?flair"),
    Rule(Modality.FLAIR, "FLAIR by its description, without timing", says=r"flair|dark.?fl"),
    Rule(Modality.T1, "T1 by its description, without timing", says="t1|mp-?rage|f?spgr|bravo|vibe|tfe"),
    Rule(Modality.T2, "T2 by its description, without timing", says=r"t2(?!\*| ?star)"),
)

# Words of descriptions in English, German, French, Spanish, Italian and Dutch; the first pattern that occurs decides.
SURGERY = r"post[ -]?op\w*"
BOTH = r"w/?wo|(?:ohne|without|sans|sin|senza|zonder) (?:und|and|et|y|e|en) (?:mit|with|avec|con|met)"
WITHOUT_CONTRAST = (
    r"pre|vor|before|avant|antes|ante|prima|voor|ohne|o\. ?km|sans|sin|senza|zonder|without|w/?o|no|non|kein|"
    r"nativ[eo]?|plain|unenhanced|(?:km|gd|gad|c) ?-"
)
WITH_CONTRAST = (
    r"post|gd|gado?|gadolinium|ce|contrast[eo]?|cte|kontrast|enhanced|km|mdc|civ|t1c|c/c|inj|injection|after|nach|apr[eè]s|"
    r"dotarem|gadovist|magnevist|multihance|omniscan|prohance|clariscan|vueway|elucirem|(?:\+ ?(?:c|gd|km|gad|k))|c ?\+"
)
NO_AGENT = r"|-|0|n|none|unknown|.*\b(?:no|kein|ohne|without|sans|sin|senza|zonder)\b.*"


def role_of(frame: Frame) -> tuple[Modality | None, str]:
    """The modality of a frame's series, None if it is none of the four, and the reason in words."""
    for rule in RULES:
        if rule.applies(frame):
            if rule.role == Modality.T1 and has_contrast(frame):
                return Modality.T1GD, f"{rule.reason}, with contrast agent"
            return rule.role, rule.reason
    return None, "neither timing nor description name a modality"


def has_contrast(frame: Frame) -> bool:
    """Whether a contrast agent was given: by the description, or where it does not say, by ContrastBolusAgent."""
    description = re.sub(_word(SURGERY), "", description_of(frame)).replace("+", " +")  # a word of its own
    for pattern, answer in ((BOTH, True), (WITHOUT_CONTRAST, False), (WITH_CONTRAST, True)):
        if re.search(_word(pattern), description):
            return answer
    return not re.fullmatch(NO_AGENT, frame.text("ContrastBolusAgent").strip().lower())


def is_gradient_echo(frame: Frame) -> bool:
    """Whether the sequence has no refocusing pulse."""
    sequence = frame.text("ScanningSequence").split("\\")
    return ("GR" in sequence and "SE" not in sequence) or frame.text("EchoPulseSequence") == "GRADIENT"


def description_of(frame: Frame) -> str:
    """SeriesDescription and SequenceName in lower case."""
    return f"{frame.text('SeriesDescription')} {frame.text('SequenceName')}".lower()


def _word(pattern: str) -> str:
    """A pattern that matches between letters only as a whole word."""
    return rf"(?<![a-z])(?:{pattern})(?![a-z])"


def _within(time_ms: float | None, allowed: Range | None) -> bool:
    if allowed is None:
        return True
    if time_ms is None:
        return allowed == NOT_INVERTED
    return allowed[0] <= time_ms < allowed[1]
