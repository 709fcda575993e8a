"""The exception tree. Every message names the cause and the remedy in one sentence.

The command line prints `HimacError`s without a traceback and exits with their `exit_code`.
"""


class HimacError(Exception):
    """Base of every error a user can cause or repair."""

    exit_code = 1


class ConfigError(HimacError):
    """A configuration key or value is unknown, missing or out of range."""

    exit_code = 2


class DataError(HimacError):
    """A task file, data set or demonstration file is missing, broken or of the wrong kind."""

    exit_code = 3


class ModelError(HimacError):
    """A model directory cannot be used: no weights, no tokenizer, an unknown architecture."""

    exit_code = 4


class CheckpointError(HimacError):
    """A run directory cannot be written or resumed."""

    exit_code = 5


class EnvironmentFailureError(HimacError):
    """An environment raised, died or did not answer in time; the episode ends as `env_error`."""

    exit_code = 6


class TrainingError(HimacError):
    """Training cannot go on, for example after a loss that is not finite."""

    exit_code = 7


class MissingDependencyError(HimacError):
    """An optional package is needed; the message names the extra that brings it."""

    exit_code = 8


class EndpointError(HimacError):
    """A model endpoint refuses to work: a wrong key, an unknown model, an account without credit."""

    exit_code = 9


class OutOfMemoryError(HimacError):
    """There is not enough memory; the message names settings that take less."""

    exit_code = 10


class InterruptedRunError(HimacError):
    """The user pressed Ctrl-C."""

    exit_code = 130
