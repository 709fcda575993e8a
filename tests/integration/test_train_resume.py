"""A run that was killed at any point and resumed gives the metrics of the run that was not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from himac.training.value import VALUE_FILE
from support.cli import Cli, lines


@pytest.fixture(scope="module")
def paying_yaml(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The games of `tiny_yaml`, in which every command earns something."""
    tree = yaml.safe_load(tiny_yaml.read_text(encoding="utf-8"))
    tree["env"]["name"] = "support.paying:PayingHousehold"
    path = tmp_path_factory.mktemp("paying") / "paying.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(paying_yaml: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """`metrics.jsonl` of the run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("reference")
    done = Cli(folder).run("train", paying_yaml, "--run-dir", "run", "--model", tiny_model)
    assert done.code == 0, done.err
    assert done.err == ""
    return (folder / "run" / "metrics.jsonl").read_bytes()


def test_the_reference_run_does_something(reference: bytes) -> None:
    """Otherwise equal files would show nothing."""
    records = [json.loads(line) for line in reference.splitlines()]
    assert [(r["iteration"], r["phase"]) for r in records] == [
        (0, "eval"),
        *((i, phase) for i in (0, 1) for phase in ("macro", "micro")),
        (2, "eval"),
        (2, "macro"),
        (2, "micro"),
        (3, "eval"),
    ]
    for phase in ("macro", "micro"):
        moved = [r for r in records if r["phase"] == phase and r["return_spread"] > 0 and r["grad_norm"] > 0]
        assert moved, f"no {phase} update had anything to learn"
    assert records[-1]["env_steps"] > 20


def test_a_second_run_is_identical(reference: bytes, cli: Cli, paying_yaml: Path, tiny_model: Path) -> None:
    assert cli.run("train", paying_yaml, "--run-dir", "run", "--model", tiny_model).code == 0
    assert (cli.folder / "run" / "metrics.jsonl").read_bytes() == reference


def kill_and_resume(
    cli: Cli, start: tuple[str | Path, ...], points: list[Callable[[Path], bool]]
) -> tuple[Path, list[Any]]:
    """Kill the run at each point in turn, then let it end; returns the run directory and what each resume said."""
    run = cli.folder / "run"
    said = []
    for number, point in enumerate(points):
        args = [*start, "--run-dir", "run", *(["--resume"] if number else [])]
        done = cli.start(*args).when(lambda point=point: point(run)).send(signal.SIGKILL)  # type: ignore[misc]
        assert done.code == -signal.SIGKILL
    done = cli.run(*start, "--run-dir", "run", "--resume")
    assert done.code == 0, done.err
    assert done.err == ""
    said.append(done.out)
    return run, said


def warm_steps(kept: Path) -> int:
    """Steps of an unfinished warm start that are saved."""
    latest = kept / "checkpoints" / "latest"
    return int(latest.read_text().strip().removeprefix("step-")) if latest.exists() else 0


def after(name: str, count: int) -> Callable[[Path], bool]:
    return lambda run: lines(run / name) >= count


# metrics.jsonl: 1 eval, 2 macro, 3 micro, 4 macro, 5 micro, 6 eval, 7 macro, 8 micro, 9 eval
FAST = {
    "inside micro": [after("metrics.jsonl", 2)],
    "inside macro, then inside micro again": [after("metrics.jsonl", 5), after("metrics.jsonl", 7)],
}
SLOW = {
    "after the first evaluation": [after("metrics.jsonl", 1)],
    "between the records of a phase": [after("timings.jsonl", 2)],
    "at the end of an iteration": [after("metrics.jsonl", 3)],
    "in an evaluation": [after("timings.jsonl", 5)],
    "in the last evaluation": [after("metrics.jsonl", 8)],
    "after the last record": [after("metrics.jsonl", 9)],
    "at every record": [after("metrics.jsonl", n) for n in range(1, 10)],
}


def check(points: list[Callable[[Path], bool]], cli: Cli, config: Path, model: Path, reference: bytes) -> None:
    run, _ = kill_and_resume(cli, ("train", config, "--model", model), points)
    assert (run / "metrics.jsonl").read_bytes() == reference
    evals = {r["iteration"]: r["success"] for r in map(json.loads, reference.splitlines()) if r["kind"] == "eval"}
    best = max(evals, key=lambda iteration: (evals[iteration], -iteration))
    assert (run / "checkpoints" / "best").read_text() == f"step-{best:06d}-0\n"
    assert (run / "checkpoints" / f"step-{best:06d}-0" / "model.safetensors").is_file()
    assert lines(run / "timings.jsonl") == reference.count(b"\n")
    assert not list(run.rglob(".tmp-*")), "half-written files stay behind"


@pytest.mark.parametrize("points", FAST.values(), ids=FAST.keys())
def test_killed_and_resumed(
    points: list[Callable[[Path], bool]], cli: Cli, paying_yaml: Path, tiny_model: Path, reference: bytes
) -> None:
    check(points, cli, paying_yaml, tiny_model, reference)


def test_a_critic_is_resumed_exactly(cli: Cli, paying_yaml: Path, tiny_model: Path) -> None:
    """Value heads, their optimiser state and the critic's warm-up; killed while the second update is under way."""
    learner = ["train.learner.value_warmup=1", "train.learner.credit=dgpo", "train.learner.kl_coef=0"]
    settings = ["algo={name: ppo, tasks: 2, group_size: 3, reward_kl: 0.05}", "agent.name=flat", *learner]
    start = ("train", paying_yaml, "--model", tiny_model, "train.eval_every=0", *settings)
    assert cli.run(*start, "--run-dir", "whole").code == 0
    run, _ = kill_and_resume(cli, start, [after("metrics.jsonl", 1)])
    whole = cli.folder / "whole"
    metrics = (run / "metrics.jsonl").read_bytes()
    assert metrics == (whole / "metrics.jsonl").read_bytes()
    for record in map(json.loads, metrics.splitlines()[:3]):
        assert record["phase"] == "flat"
        assert record["value_loss"] > 0
    latest = (run / "checkpoints" / "latest").read_text(encoding="utf-8").strip()
    for name in (VALUE_FILE, "model.safetensors"):
        assert (run / "checkpoints" / latest / name).read_bytes() == (
            whole / "checkpoints" / latest / name
        ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("points", SLOW.values(), ids=SLOW.keys())
def test_killed_and_resumed_elsewhere(
    points: list[Callable[[Path], bool]], cli: Cli, paying_yaml: Path, tiny_model: Path, reference: bytes
) -> None:
    check(points, cli, paying_yaml, tiny_model, reference)


@pytest.mark.slow
def test_killed_in_initialisation_and_warm_start(
    cli: Cli, paying_yaml: Path, tiny_model: Path, reference: bytes
) -> None:
    """Stages before reinforcement learning are gone on with or kept whole, and end in the same model."""
    run, _ = kill_and_resume(
        cli,
        ("train", paying_yaml, "warmstart.checkpoint_steps=1"),
        [
            lambda run: (run / "config.yaml").exists(),
            lambda run: (run / "init").exists(),
            lambda run: warm_steps(run / "warmstart.unfinished") >= 3,
            lambda run: warm_steps(run / "warmstart.unfinished") >= 7,
            lambda run: any(run.glob(".tmp-warmstart*")),
            lambda run: (run / "warmstart").exists(),
        ],
    )
    assert (run / "warmstart" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    assert (run / "metrics.jsonl").read_bytes() == reference
    assert not (run / "warmstart.unfinished").exists()


@pytest.mark.slow
def test_a_killed_warm_start_command_goes_on(cli: Cli, paying_yaml: Path, tiny_model: Path) -> None:
    model, kept = tiny_model.with_name("init"), cli.folder / "out.unfinished"
    args = ("warmstart", paying_yaml, "out", "--model", model, "warmstart.checkpoint_steps=1")
    done = cli.start(*args).when(lambda: warm_steps(kept) >= 2).send(signal.SIGKILL)
    assert done.code == -signal.SIGKILL
    refused = cli.run(*args)
    assert refused.code != 0
    (error,) = refused.errors
    assert error == "error: out.unfinished holds a warm start that did not end; go on with --resume or remove it"
    done = cli.run(*args, "--resume")
    assert done.code == 0, done.err
    assert (cli.folder / "out" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    assert not kept.exists()


@pytest.mark.slow
def test_more_iterations_can_be_added(cli: Cli, paying_yaml: Path, tiny_model: Path, reference: bytes) -> None:
    """A finished run goes on; all but its closing evaluation, which comes too early, is what a long run gives."""
    start = ("train", paying_yaml, "--model", tiny_model)
    assert cli.run(*start, "--run-dir", "long", "train.iterations=4").code == 0
    assert cli.run(*start, "--run-dir", "short").code == 0
    assert cli.run(*start, "--run-dir", "short", "--resume", "train.iterations=4").code == 0
    long, short = ((cli.folder / name / "metrics.jsonl").read_bytes().splitlines() for name in ("long", "short"))
    assert short[:9] == reference.splitlines()
    assert short[:8] + short[9:] == long
