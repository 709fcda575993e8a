"""What failed in a rollout besides the policy: told once, and the end of it when nothing else came out."""

from __future__ import annotations

import logging
from collections import Counter

from himac.envs.pool import EnvResult
from himac.errors import EndpointError, EnvironmentFailureError
from himac.types import Episode, StopReason

logger = logging.getLogger(__name__)
_SHOWN = 300


class FailureLog:
    """Logs every error of an environment once in full; those that end with the same line are counted."""

    def __init__(self) -> None:
        self._known = set[str]()
        self._again = Counter[str]()

    def heard(self, result: EnvResult) -> EnvResult:
        """The result as it is."""
        if result.error is not None:
            line = last_line(result.error)
            if line in self._known:
                self._again[line] += 1
            else:
                self._known.add(line)
                logger.error("an environment failed; its episode ends as env_error:\n%s", result.error)
        return result

    def count(self) -> None:
        """Tell how often known errors came again since the last time."""
        for line, times in self._again.items():
            logger.error("%d more episodes ended as env_error: %s", times, line)
        self._again.clear()


def some_sound(episodes: list[Episode]) -> list[Episode]:
    """The episodes, if at least one of them says something about the policy, or there are none.

    Raises:
        EnvironmentFailureError: all are broken, the first one by the environment.
        EndpointError: all are broken, the first one by the engine.
    """
    if not episodes or not all(episode.broken for episode in episodes):
        return episodes
    first = episodes[0]
    cause = last_line(first.error or "")
    if first.stop is StopReason.ENV_ERROR:
        raise EnvironmentFailureError(
            f"the environment failed in every one of {len(episodes)} episodes ({cause}); repair it, or change env.name "
            "and env.kwargs"
        )
    raise EndpointError(
        f"none of {len(episodes)} episodes got an answer from the endpoint ({cause}); repeat them with --resume"
    )


def last_line(error: str) -> str:
    """What a traceback says in the end, in one line of bounded length without a dot."""
    lines = error.strip().splitlines()
    return lines[-1].strip()[:_SHOWN].rstrip(".;") if lines else "no reason is known"
