"""The pool: nothing lost, nothing duplicated, nothing waited for in vain, whatever the environments do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.envs.pool import EnvHandle, EnvPool, EnvResult
from himac.errors import ConfigError
from support import rogue
from support.pool_envs import make_nothing, make_scripted


@pytest.fixture(params=[0, 2], ids=["local", "workers"])
def pool(request: pytest.FixtureRequest) -> Iterator[EnvPool]:
    with EnvPool(make_scripted, workers=request.param, timeout_s=20.0) as made:
        yield made


def ask(pool: EnvPool, handle: EnvHandle, *command: object) -> EnvResult:
    pool.submit(handle, command)  # type: ignore[arg-type]
    [(answered, result)] = pool.poll(block=True)
    assert answered is handle
    return result


def test_an_episode(pool: EnvPool) -> None:
    handle = pool.acquire()
    first = ask(pool, handle, "reset", {"tag": "a"}, 7)
    assert (first.observation, first.info["overview"], first.error) == ("start a", "seed 7", None)
    results = [ask(pool, handle, "step", "go") for _ in range(5)]
    assert [result.observation for result in results] == [f"a {n} go" for n in range(1, 6)]
    assert [result.terminated for result in results] == [False] * 4 + [True]
    assert results[0].reward == 0.5


def test_a_derived_seed_is_fitted_to_what_environments_take(pool: EnvPool) -> None:
    handle = pool.acquire()
    assert ask(pool, handle, "reset", None, 5 * 2**31 + 7).info["overview"] == "seed 7"  # 31 bits of it


def test_many_environments_interleave_without_loss_or_repetition(pool: EnvPool) -> None:
    handles = [pool.acquire() for _ in range(12)]
    for number, handle in enumerate(handles):
        pool.submit(handle, ("reset", {"tag": str(number)}, number))
    seen: dict[EnvHandle, list[str]] = {handle: [] for handle in handles}
    while pool.pending:
        for handle, result in pool.poll(block=True):
            assert result.error is None
            seen[handle].append(result.observation)
            if len(seen[handle]) < 5:
                pool.submit(handle, ("step", "go"))
    # Each environment has counted its own steps only.
    for number, handle in enumerate(handles):
        assert seen[handle] == [f"start {number}", *(f"{number} {step} go" for step in range(1, 5))]
    assert pool.poll(block=True) == []


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("raise", "broken on purpose"),
        ("exit", "SystemExit: 3"),
        ("malformed", r"return (observation, reward, terminated, truncated, info)"),
    ],
)
def test_an_environment_that_raises_becomes_an_error_and_is_built_anew(
    pool: EnvPool, action: str, message: str
) -> None:
    handle, bystander = pool.acquire(), pool.acquire()
    ask(pool, handle, "reset", None, 0)
    ask(pool, bystander, "reset", {"tag": "b"}, 0)
    result = ask(pool, handle, "step", action)
    assert result.error is not None
    assert message in result.error
    assert (result.truncated, result.terminated) == (True, False)
    assert "reset" in (ask(pool, handle, "step", "go").error or "")
    assert ask(pool, handle, "reset", {"tag": "again"}, 0).observation == "start again"
    assert ask(pool, bystander, "step", "go").observation == "b 1 go"


def test_reset_and_constructor_errors_become_results() -> None:
    with EnvPool(make_nothing) as pool:
        assert "no display" in (ask(pool, pool.acquire(), "reset", None, 0).error or "")
    with EnvPool(make_scripted) as pool:
        assert "no such task" in (ask(pool, pool.acquire(), "reset", {"tag": "raise"}, 0).error or "")


def test_workers_answer_what_this_process_answers() -> None:
    """Each way to misbehave and a few episodes: the same results, field by field; the traceback's end for errors."""
    ways = [way for way in (*rogue.STEPS, *rogue.RESETS, *rogue.HARMLESS) if not way.endswith(("sleeps", "catches"))]
    ways += ["sleeps", "changes its options", ""]

    def played(workers: int) -> list[Any]:
        told = list[Any]()
        with EnvPool(rogue.RogueEnv, workers, timeout_s=0.5) as pool:
            handles = [pool.acquire() for _ in range(3)]
            for way in ways:
                for command in (("reset", rogue.task(way).options, 3), ("step", "red"), ("step", "blue")):
                    for handle in handles:
                        pool.submit(handle, command)  # type: ignore[arg-type]
                    answers = dict[EnvHandle, EnvResult]()
                    while pool.pending:
                        answers.update(pool.poll(block=True))
                    told += [(way, *_fields(answers[handle])) for handle in handles]
        return told

    assert played(2) == played(0)


def _fields(result: EnvResult) -> tuple[Any, ...]:
    error = result.error and result.error.strip().splitlines()[-1]
    return result.observation, result.reward, result.terminated, result.truncated, result.info, error


def test_handles_are_reused_and_a_dropped_result_never_appears(pool: EnvPool) -> None:
    first = pool.acquire()
    pool.submit(first, ("reset", {"tag": "old"}, 0))
    pool.release(first)
    assert pool.pending == 0
    second = pool.acquire()
    assert ask(pool, second, "reset", {"tag": "new"}, 0).observation == "start new"
    with pytest.raises(ValueError, match="released"):
        pool.release(first)
    with pytest.raises(ValueError, match="not held"):
        pool.submit(first, ("step", "go"))


def test_misuse_is_refused(pool: EnvPool) -> None:
    handle = pool.acquire()
    with pytest.raises(ValueError, match="unknown environment command"):
        pool.submit(handle, ("jump", None))  # type: ignore[arg-type]
    pool.submit(handle, ("reset", None, 0))
    with pytest.raises(ValueError, match="under way"):
        pool.submit(handle, ("step", "go"))
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        pool.acquire()


def test_bad_settings_and_unpicklable_constructors_are_configuration_errors() -> None:
    with pytest.raises(ConfigError, match="0 workers"):
        EnvPool(lambda: make_scripted(), workers=1)
    with pytest.raises(ConfigError, match="workers"):
        EnvPool(make_scripted, workers=-1)
    with pytest.raises(ConfigError, match="timeout"):
        EnvPool(make_scripted, timeout_s=0)


def test_a_killed_worker_answers_for_everything_it_owed_and_comes_back() -> None:
    with EnvPool(make_scripted, workers=2, timeout_s=20.0) as pool:
        handles = [pool.acquire() for _ in range(6)]
        for handle in handles:
            pool.submit(handle, ("reset", {"tag": "t"}, 0))
        collected: list[tuple[EnvHandle, EnvResult]] = []
        while pool.pending:
            collected += pool.poll(block=True)
        assert len(collected) == 6
        victims = [handle for handle in handles if handle.worker == 0]
        assert len(victims) == 3
        for handle in handles:
            pool.submit(handle, ("step", "die" if handle is victims[0] else "go"))
        answers: dict[EnvHandle, EnvResult] = {}
        while pool.pending:
            for handle, result in pool.poll(block=True):
                assert handle not in answers
                answers[handle] = result
        assert set(answers) == set(handles)
        for handle, result in answers.items():
            assert (result.error is not None) == (handle.worker == 0)
        assert "signal 9" in (answers[victims[0]].error or "")
        assert ask(pool, victims[1], "reset", {"tag": "back"}, 0).observation == "start back"


def test_a_worker_killed_from_outside_while_idle() -> None:
    with EnvPool(make_scripted, workers=1, timeout_s=20.0) as pool:
        handle = pool.acquire()
        pid = int(ask(pool, handle, "reset", None, 0).info["anchor"])
        assert pool.worker_pids == (pid,)
        os.kill(pid, signal.SIGKILL)
        assert "died" in (ask(pool, handle, "step", "go").error or "")
        assert ask(pool, handle, "reset", None, 0).error is None


def test_a_hanging_environment_is_interrupted_and_no_other() -> None:
    with EnvPool(make_scripted, workers=1, timeout_s=0.5) as pool:
        stuck, behind = pool.acquire(), pool.acquire()
        ask(pool, stuck, "reset", None, 0)
        ask(pool, behind, "reset", None, 0)
        pool.submit(stuck, ("step", "sleep 600"))
        pool.submit(behind, ("step", "go"))
        started = time.monotonic()
        answers = {}
        while pool.pending:
            answers.update(dict(pool.poll(block=True)))
        assert 0.4 < time.monotonic() - started < 5.0
        assert "did not answer within 0.5 s" in (answers[stuck].error or "")
        assert answers[behind].observation == " 1 go"  # its neighbour was interrupted, it was not


def test_large_and_unpicklable_results() -> None:
    with EnvPool(make_scripted, workers=1, timeout_s=20.0) as pool:
        handle = pool.acquire()
        ask(pool, handle, "reset", None, 0)
        assert len(ask(pool, handle, "step", "large").observation) == 65536
        assert ask(pool, handle, "step", "unpicklable").info == {}  # nobody asked for it
        assert ask(pool, handle, "step", "z" * 1_000_000).observation == " 3 " + "z" * 20
        assert "cannot be sent" in (ask(pool, handle, "step", lambda: None).error or "")


def test_closing_does_not_wait_for_a_hanging_environment() -> None:
    pool = EnvPool(make_scripted, workers=1, timeout_s=600.0)
    handle = pool.acquire()
    pid = int(ask(pool, handle, "reset", None, 0).info["anchor"])
    pool.submit(handle, ("step", "sleep 600"))
    time.sleep(0.1)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 8.0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_local_pool_costs_microseconds() -> None:
    with EnvPool(make_scripted) as pool:
        handle = pool.acquire()
        ask(pool, handle, "reset", None, 0)
        started = time.process_time()
        for _ in range(1000):
            pool.submit(handle, ("step", "go"))
            pool.poll(block=True)
        assert (time.process_time() - started) / 1000 < 100e-6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["go", "raise", "release", "poll"])), max_size=40))
def test_every_request_of_a_held_handle_is_answered_exactly_once(script: list[tuple[int, str]]) -> None:
    with EnvPool(make_scripted) as pool:
        handles = [pool.acquire() for _ in range(5)]
        owed: set[EnvHandle] = set()
        for index, what in script:
            handle = handles[index]
            if what == "release":
                pool.release(handle)
                owed.discard(handle)
                handles[index] = pool.acquire()
            elif what == "poll":
                answered = [answer for answer, _ in pool.poll(block=False)]
                assert set(answered) == owed
                assert len(answered) == len(owed)
                owed.clear()
            elif handle not in owed:
                pool.submit(handle, ("step", what))
                owed.add(handle)
        assert {answer for answer, _ in pool.poll(block=True)} == owed
