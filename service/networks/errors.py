"""Why weights cannot be used."""


class WeightsError(Exception):
    """A checkpoint is missing, damaged, or does not fit this code or machine."""
