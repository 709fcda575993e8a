"""Failures that are not the policy's: told once, and an end where there is nothing else."""

from __future__ import annotations

import logging

import pytest

from himac.algos.base import PhaseContext
from himac.algos.groups import sample_groups
from himac.config_file import load_config
from himac.envs.pool import EnvPool, EnvResult
from himac.errors import EndpointError, EnvironmentFailureError
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec, flat_episode
from himac.rollout.failures import FailureLog, some_sound
from himac.rollout.runtime import make_agent
from himac.types import Episode, StopReason, Task
from support import rogue
from support.toy import ByteTokenizer, ScriptedEngine

TASK = Task("red-blue", "red", {})


def episode(stop: StopReason, error: str | None = None) -> Episode:
    return Episode(TASK, 0, None, None, (), 0.0, stop, 0, error=error)


BROKEN = episode(StopReason.ENV_ERROR, "Traceback ...\n  File ...\nOSError: no display.")
MUTE = episode(StopReason.ENGINE_ERROR, "the endpoint is gone")
SOUND = episode(StopReason.FAILURE)


def test_one_sound_episode_is_enough() -> None:
    for episodes in ([], [SOUND], [BROKEN, SOUND], [MUTE, BROKEN, SOUND]):
        assert some_sound(episodes) is episodes


def test_none_is_an_error_with_its_cause() -> None:
    with pytest.raises(EnvironmentFailureError, match=r"every one of 3 episodes \(OSError: no display\); repair it"):
        some_sound([BROKEN] * 3)
    with pytest.raises(EndpointError, match=r"2 episodes .* \(the endpoint is gone\); repeat them with --resume"):
        some_sound([MUTE] * 2)


def test_a_phase_in_which_everything_fails_ends_the_run() -> None:
    at = PhaseContext(0, 0)
    with pytest.raises(EnvironmentFailureError, match="every one of 4 episodes"):
        sample_groups("g", at, [TASK, TASK], lambda tasks: [[BROKEN] * 2 for _ in tasks])
    groups, counts = sample_groups("g", at, [TASK, TASK], lambda tasks: [[BROKEN] * 2, [SOUND, BROKEN]])
    assert ([len(group.episodes) for group in groups], counts["env_errors"]) == ([1], 3.0)
    assert sample_groups("g", at, [], lambda tasks: []) == ([], {"env_errors": 0.0, "resampled": 0.0})


def test_equal_errors_are_told_once_with_their_count(caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(None, ["agent.name=flat", "env.step_limit=4"])
    benchmark = rogue.RogueBenchmark()
    agent = make_agent(config, ByteTokenizer(), benchmark)
    spec = EpisodeSpec(benchmark, config, 400)
    ways = ["reward nan"] * 5 + ["reward inf"] * 2 + [""]
    with EnvPool(benchmark.make_env) as pool, caplog.at_level(logging.ERROR):
        programs = [flat_episode(spec, agent, rogue.task(way), 1.0, n, 0) for n, way in enumerate(ways)]  # type: ignore[arg-type]
        done = Collector(ScriptedEngine(lambda *_: "red"), pool).run(programs)
    assert [one.stop is StopReason.ENV_ERROR for one in done] == [True] * 7 + [False]
    told = [record.getMessage() for record in caplog.records]
    assert [text.count("Traceback") for text in told] == [1, 1, 0, 0]
    again = "more episodes ended as env_error: himac.errors.EnvironmentFailureError: reward is"
    assert [text.split(";")[0] for text in sorted(told[2:])] == [f"1 {again} inf", f"4 {again} nan"]


def test_errors_of_an_earlier_run_are_counted_only(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    result = EnvResult("", 0.0, False, True, error="Traceback\nOSError: no display")
    with caplog.at_level(logging.ERROR):
        assert log.heard(result) is result
        log.count()
        log.heard(result)
        log.count()
        log.count()
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == [
        "an environment failed; its episode ends as env_error:",
        "1 more episodes ended as env_error: OSError: no display",
    ]
