"""What can go wrong, in one line each: the value, the rule, the mend. The exit code is part of the error."""


class PiyingError(Exception):
    """Something failed that a person can mend."""

    exit_code = 1


class UsageError(PiyingError):
    """A value that the rules do not allow."""

    exit_code = 2


class ModelMissing(PiyingError):
    """A model that is not on this machine."""

    exit_code = 3


class OutOfMemory(PiyingError):
    """The work did not fit."""

    exit_code = 4
