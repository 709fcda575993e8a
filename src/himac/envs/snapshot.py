"""Snapshots of running episodes: the state of an environment as bytes, for any other one of the same benchmark."""

from __future__ import annotations

import pickle
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium


@runtime_checkable
class Restorable(Protocol):
    """What an environment has whose episodes can be gone on with from any point, any number of times."""

    def clone_state(self) -> Any:
        """All that the answers to come depend on, random generators included: a value that can be pickled.

        It is pickled at once, so it may share parts with the environment.
        """
        ...

    def restore_state(self, state: Any) -> None:
        """Be where the environment was from which `state` was taken; this one need not have been reset."""
        ...


def snapshot(env: gymnasium.Env[Any, Any]) -> bytes | None:
    """The state of the running episode, or `None` where the environment is not `Restorable`."""
    keeper = _keeper(env)
    return None if keeper is None else pickle.dumps(keeper.clone_state())


def restore(env: gymnasium.Env[Any, Any], state: bytes) -> None:
    """Put an environment into a state that `snapshot` took of another one of the same benchmark."""
    keeper = _keeper(env)
    assert keeper is not None, "the environments of a benchmark are of one kind"
    keeper.restore_state(pickle.loads(state))


def _keeper(env: gymnasium.Env[Any, Any]) -> Restorable | None:
    """The environment below the wrappers that say of themselves that they keep no state (`keeps_no_state`)."""
    while isinstance(env, gymnasium.Wrapper) and getattr(type(env), "keeps_no_state", False):
        env = env.env
    return cast("Restorable", env) if isinstance(env, Restorable) else None
