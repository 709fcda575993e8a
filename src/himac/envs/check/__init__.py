"""Checks that an environment or a benchmark keeps the promises of `himac.envs.base`.

`ConfigError` means that the interface is broken, `DataError` that the interface holds but the content does not
(an empty instruction, an episode that cannot be repeated).
"""

from himac.envs.check.benchmark import check_benchmark
from himac.envs.check.environment import check_env

__all__ = ["check_benchmark", "check_env"]
