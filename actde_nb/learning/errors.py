"""What can go wrong with a run that a person can do something about."""


class SettingError(ValueError):
    """A setting that is not allowed, and what is."""


class Diverged(FloatingPointError):
    """A NaN or an infinity came up; the run stopped there."""


class CheckpointError(Exception):
    """A checkpoint that cannot be used, and why."""
