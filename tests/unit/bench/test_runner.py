"""Cells run, fail, are skipped, continued and interrupted; a script stands for the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from himac.bench import runner, scheduler
from himac.bench.matrix import expand, load_matrix
from himac.bench.publish import publish
from himac.bench.runner import Bench, describe, last_records
from himac.bench.scheduler import Job, Outcome, run_jobs
from himac.errors import CheckpointError, ConfigError, DataError
from himac.report.results import read_jsonl
from support import fake_himac

TREE: dict[str, Any] = {
    "base": "base.yaml",
    "env_steps": 100,
    "seeds": [0, 1],
    "methods": {"himac": {}, "grpo": {"agent.name": "flat", "algo": {"name": "grpo"}}, "asis": {"kind": "eval"}},
    "tasks": {"small": {}},
    "reference": "grpo",
    "ablations": {"flat": "grpo"},
    "targets": {"small": 1.0},
    "cores": 2,
}


class Fake:
    """A matrix file, its output folder and the script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"
        self.script = folder / "fake_himac.py"
        self.script.write_text(Path(fake_himac.__file__).read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "base.yaml").write_text("seed: 0\n", encoding="utf-8")
        self.behave()

    def behave(self, **names: str) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(names), encoding="utf-8")

    def bench(self, only: tuple[str, ...] = (), **changes: Any) -> Bench:
        path = self.folder / "matrix.yaml"
        path.write_text(yaml.safe_dump(TREE | changes, sort_keys=False), encoding="utf-8")
        matrix = load_matrix(path)
        cells, warm = expand(matrix, self.folder, only)
        describe(matrix, path, self.output)
        return Bench(self.output, matrix, cells, warm, (sys.executable, str(self.script)))

    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return calls


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(scheduler, "POLL_S", 0.01)
    return Fake(tmp_path)


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.job.name: outcome.error for outcome in outcomes if not outcome.ok}


def test_a_matrix_from_beginning_to_end(fake: Fake) -> None:
    seen: set[str] = set()
    outcomes = fake.bench().run(on_tick=lambda fractions: seen.update(fractions))
    calls = fake.calls()
    assert failed(outcomes) == {}
    assert [call["name"] for call in calls[:2]] == ["small/init-model", "small/warmstart"]
    assert {call["name"] for call in calls[2:]} == {f"small/{m}/seed-{s}" for m in TREE["methods"] for s in (0, 1)}
    model = str((fake.output / "models" / "small" / "warmstart").resolve())
    assert all(call["options"][-2:] == ["--model", model] for call in calls[2:])
    assert {call["command"] for call in calls if "asis" in call["name"]} == {"eval"}
    assert seen <= {call["name"] for call in calls}
    assert fake.bench().pending() == []
    assert fake.bench().run() == []
    assert fake.calls() == []


def test_a_failing_cell_does_not_stop_the_others_and_is_repeated(fake: Fake) -> None:
    fake.behave(**{"small/grpo/seed-0": "fail", "small/himac/seed-1": "die"})
    errors = failed(fake.bench().run())
    assert errors == {
        "small/grpo/seed-0": "the toy broke; mend it",
        "small/himac/seed-1": "killed by SIGKILL; last output: working",
    }
    records = last_records(fake.output)
    assert (records["small/grpo/seed-0"]["code"], records["small/himac/seed-1"]["code"]) == (7, -9)
    assert sum(record["code"] == 0 for record in records.values()) == 4
    publish(fake.output)
    assert "| small/grpo/seed-0 | the toy broke; mend it |" in (fake.output / "tables.md").read_text()
    fake.calls()
    fake.behave()
    assert failed(fake.bench().run()) == {}
    # The one that was killed had begun; the other failed before its run directory existed.
    assert {call["name"]: "--resume" in call["options"] for call in fake.calls()} == {
        "small/grpo/seed-0": False,
        "small/himac/seed-1": True,
    }


def test_the_last_evaluation_of_a_cell_is_made_up_for(fake: Fake) -> None:
    """A cell is over when its last checkpoint is evaluated both ways; killed there it goes on."""
    fake.behave(**{"small/grpo/seed-0/final": "fail"})
    assert failed(fake.bench(only=("grpo",)).run()) == {"small/grpo/seed-0": "the toy broke; mend it"}
    fake.behave()
    fake.calls()
    (fake.output / "runs/small/grpo/seed-1/eval/step-000001-0/summary.json").unlink()
    assert [cell.seed for cell in fake.bench(only=("grpo",)).pending()] == [0, 1]
    (fake.folder / "finals.jsonl").unlink()
    shutil.rmtree(fake.output / "runs/small/grpo/seed-1/eval/step-000001-0")
    assert failed(fake.bench(only=("grpo",)).run()) == {}
    assert [("--resume" in call["options"]) for call in fake.calls()] == [True, True]
    finals = (fake.folder / "finals.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"] for line in finals} == {f"small/grpo/seed-{n}/final" for n in (0, 1)}
    assert fake.bench(only=("grpo",)).pending() == []


def test_a_cell_of_an_older_version_without_its_checkpoints_is_left_alone(fake: Fake) -> None:
    """Trained again it would lose what it measured."""
    fake.bench(only=("grpo",)).run()
    run = fake.output / "runs/small/grpo/seed-0"
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "eval/step-000001-0")
    assert fake.bench(only=("grpo",)).pending() == []
    publish(fake.output)
    cells = json.loads((fake.output / "results.json").read_text())["cells"]
    assert [(cell["sampled"], cell["greedy"]) for cell in cells] == [(None, None), (pytest.approx(5 / 6), 0.25)]


def test_an_evaluation_that_was_cut_short_is_continued(fake: Fake) -> None:
    """What an endpoint answered before has been paid for."""
    fake.behave(**{"small/asis/seed-1": "die"})
    assert set(failed(fake.bench(only=("asis",)).run())) == {"small/asis/seed-1"}
    fake.calls()
    fake.behave()
    assert failed(fake.bench(only=("asis",)).run()) == {}
    assert [(call["name"], "--resume" in call["options"]) for call in fake.calls()] == [("small/asis/seed-1", True)]
    account = fake.output / "cells.jsonl"
    lines = [json.loads(line) | {"seconds": 2.5} for line in account.read_text().splitlines()]
    account.write_text("".join(json.dumps(line) + "\n" for line in lines))
    publish(fake.output)
    cells = json.loads((fake.output / "results.json").read_text())["cells"]
    assert [cell["seconds"]["evaluation"] for cell in cells] == [2.5, 5.0], "both attempts took their time"


def test_an_evaluation_with_unanswered_tasks_is_not_over(fake: Fake) -> None:
    fake.behave(**{"small/asis/seed-1": "unanswered"})
    bench = fake.bench(only=("asis",))
    fault = "50.0% of the episodes got no answer from the endpoint; run the same command again for those"
    assert failed(bench.run()) == {"small/asis/seed-1": fault}
    assert [cell.name for cell in bench.pending()] == ["small/asis/seed-1"]
    publish(fake.output)
    assert "| small/asis/seed-1 | 50.0% of the episodes" in (fake.output / "tables.md").read_text()
    fake.calls()
    fake.behave()
    assert failed(bench.run()) == {}
    assert [(call["name"], "--resume" in call["options"]) for call in fake.calls()] == [("small/asis/seed-1", True)]
    assert bench.pending() == []
    (bench.folder(bench.cells[0]) / "summary.json").unlink()
    assert bench.pending() == [bench.cells[0]]


def test_a_running_cell_s_metrics_are_read_when_they_change(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, reads = fake.bench(only=("grpo",)), 0
    path = bench.folder(bench.cells[0]) / "metrics.jsonl"
    assert bench._fraction(bench.cells[0]) == 0.0
    path.parent.mkdir(parents=True)

    def counted(path: Path) -> Any:
        nonlocal reads
        reads += 1
        return read_jsonl(path)

    monkeypatch.setattr(runner, "read_jsonl", counted)
    for number, steps in enumerate((30, 60), 1):
        with path.open("a") as metrics:
            metrics.write(json.dumps({"env_steps": steps}) + "\n")
        assert [bench._fraction(bench.cells[0]) for _ in range(3)] == [steps / 100] * 3
        assert reads == number


def test_without_a_warm_start_nothing_can_run(fake: Fake) -> None:
    fake.behave(**{"small/warmstart": "fail"})
    errors = failed(fake.bench().run())
    assert set(errors) == {"small/warm-start", *(f"small/{m}/seed-{s}" for m in TREE["methods"] for s in (0, 1))}
    assert errors["small/asis/seed-1"] == "small/warm-start failed: the toy broke; mend it"
    fake.behave()
    fake.calls()
    assert failed(fake.bench(only=("grpo",)).run()) == {}
    assert [call["command"] for call in fake.calls()] == ["warmstart", "train", "train"]
    with pytest.raises(DataError, match="no benchmark"):
        publish(fake.folder / "nowhere")


def test_another_configuration_is_refused_and_a_longer_budget_continues(fake: Fake) -> None:
    fake.bench(only=("himac",)).run()
    with pytest.raises(ConfigError, match=r"seed-0\.yaml was made with .*algo\.num_blueprints \(8 -> 4\)"):
        fake.bench(methods=TREE["methods"] | {"himac": {"algo.num_blueprints": 4}}).pending()
    with pytest.raises(ConfigError, match=r"config\.yaml was made with .*warmstart\.passes"):
        fake.bench(overrides={"warmstart.passes": 3}, only=("grpo",)).pending()
    assert fake.bench(only=("himac",), threads=2).pending() == []
    assert len(fake.bench(only=("himac",), env_steps=200).pending()) == 2


def test_a_warm_start_serves_other_ways_to_train(fake: Fake) -> None:
    fake.bench(only=("himac",)).run()
    fake.calls()
    tried = {"train.learner.lr": 3e-5, "train.eval_every": 7, "agent.flat.temperature": 0.5, "algo.tasks": 4}
    fake.bench(overrides=tried, only=("grpo",)).run()
    assert {call["command"] for call in fake.calls()} == {"train"}


def test_a_longer_budget_needs_a_constant_schedule(fake: Fake) -> None:
    """A rate that has fallen to 0 at the end of the first budget would rise again."""
    falling = {"train.learner.schedule": "linear"}
    fake.bench(only=("himac", "asis"), overrides=falling).run()
    for longer in ({"env_steps": 200}, {"iterations": 2000}):
        with pytest.raises(ConfigError, match=r"cannot grow from 1000? to 2000?: .*schedule=linear has fallen"):
            fake.bench(only=("himac",), overrides=falling, **longer).pending()
    assert len(fake.bench(only=("himac",), overrides=falling, env_steps=50).pending()) == 2
    assert len(fake.bench(only=("asis",), overrides=falling, env_steps=200).pending()) == 2  # nothing is trained


def test_two_at_once_are_refused(fake: Fake) -> None:
    def second(outcome: Outcome) -> None:
        with pytest.raises(CheckpointError, match="is in use"):
            fake.bench().run()

    outcomes = fake.bench(only=("grpo",)).run(on_end=second)
    assert len(outcomes) == 3


def test_a_process_left_behind_keeps_the_folder(fake: Fake) -> None:
    """kill -9 of the benchmark itself: its processes go on, and nobody else may write beside them."""
    fake.behave(**{"small/grpo/seed-0": "hang", "small/grpo/seed-1": "hang"})
    bench = fake.bench(only=("grpo",))
    pid = os.fork()
    if pid == 0:
        try:
            bench.run()
        finally:
            os._exit(1)
    children = _hanging(fake, 2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(CheckpointError, match="left behind"):
        fake.bench(only=("grpo",)).run()
    for child in children:
        os.kill(child, signal.SIGKILL)
    fake.behave()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert failed(fake.bench(only=("grpo",)).run()) == {}
            break
        except CheckpointError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _hanging(fake: Fake, count: int) -> list[int]:
    """Process ids of the cells under way, once there are `count`."""
    deadline = time.monotonic() + 20
    while len(list(fake.output.glob("runs/*/*/*/config.yaml"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [call["pid"] for call in fake.calls() if call["command"] == "train"]


def test_an_interrupt_ends_the_processes(fake: Fake) -> None:
    fake.behave(**{"small/grpo/seed-0": "hang", "small/himac/seed-0": "hang"})
    pids: list[int] = []

    def interrupt(fractions: dict[str, float]) -> None:
        if len(fractions) == 2:
            pids.extend(_hanging(fake, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.bench().run(on_tick=interrupt)
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert last_records(fake.output) == {}
    fake.behave()
    assert failed(fake.bench().run()) == {}
    assert sum("--resume" in call["options"] for call in fake.calls()) == 2


def test_a_process_that_ignores_the_interrupt_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "GRACE_S", 0.2)
    ready = tmp_path / "ready"
    code = f"import signal, time; signal.signal(2, signal.SIG_IGN); open({str(ready)!r}, 'w').close(); time.sleep(600)"

    def interrupt(names: object) -> None:
        if ready.exists():
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("stubborn", ((sys.executable, "-c", code),), tmp_path / "log")], 1, env={}, on_tick=interrupt)
    assert time.monotonic() - started < 30


def test_slots_limit_what_runs_at_once(tmp_path: Path) -> None:
    most = 0

    def tick(names: Any) -> None:
        nonlocal most
        most = max(most, len(names))

    jobs = [Job(str(n), ((sys.executable, "-c", "import time; time.sleep(0.2)"),), tmp_path / "log") for n in range(4)]
    outcomes = run_jobs(jobs, 2, env={}, on_tick=tick)
    assert most == 2
    assert all(outcome.ok for outcome in outcomes)
    assert [outcome.job.name for outcome in outcomes][-1] in ("2", "3")


def test_a_command_that_cannot_start_does_not_stop_the_others(tmp_path: Path) -> None:
    good = (sys.executable, "-c", "")
    jobs = [
        Job("absent", (("./no-such-command",),), tmp_path / "log"),
        Job("absent later", (good, ("./no-such-command",)), tmp_path / "log"),
        Job("behind it", (good,), tmp_path / "log", needs="absent"),
        Job("fine", (good,), tmp_path / "log"),
    ]
    outcomes = {outcome.job.name: outcome for outcome in run_jobs(jobs, 2, env={})}
    assert {name: outcome.code for name, outcome in outcomes.items()} == dict.fromkeys(
        ("absent", "absent later", "behind it")
    ) | {"fine": 0}
    assert outcomes["absent"].error.startswith("cannot start ./no-such-command: [Errno 2]")
    assert outcomes["behind it"].error.startswith("absent failed: cannot start")


def test_an_error_of_the_caller_is_no_error_of_the_disk(fake: Fake) -> None:
    def tick(fractions: object) -> None:
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="the terminal is gone"):
        fake.bench(only=("grpo",)).run(on_tick=tick)


def test_what_another_run_has_finished_is_not_run_again(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may finish between the first look and the lock."""
    first, second = fake.bench(only=("grpo",)), fake.bench(only=("grpo",))
    locked = runner.locked

    def late(output: Path) -> Any:
        monkeypatch.setattr(runner, "locked", locked)
        assert len(first.run()) == 3
        return locked(output)

    monkeypatch.setattr(runner, "locked", late)
    assert second.run() == []


def test_results_and_tables(fake: Fake) -> None:
    """Every figure follows from what the script writes; see `fake_himac.write`."""
    fake.bench().run()
    paths = publish(fake.output)
    assert [path.name for path in paths] == ["tables.md", "results.json", "curves-small.png"]
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    results = json.loads(paths[1].read_text())
    cell = results["cells"][0]
    assert (cell["method"], cell["seed"], cell["success_before"], cell["success_after"]) == ("himac", 0, 0.0, 0.5)
    assert (cell["budget"], cell["env_steps"], cell["tokens"], cell["optimizer_steps"]) == (100, 110, 40, 2)
    assert cell["overshoot"] == pytest.approx(0.1)
    assert cell["curve"][1] == {"env_steps": 110, "iteration": 1, "success": 0.5}
    assert (cell["sampled"], cell["sampled_std"], cell["greedy"]) == (pytest.approx(1 / 3), 0.125, 0.25)
    assert cell["by_kind"] == {"pick": 0.0, "heat": pytest.approx(2 / 3)}
    seconds = {"generation": 5.0, "environment": 1.0, "update": 3.0, "rest": 1.0, "evaluation": 6.0}
    assert cell["seconds"] == seconds
    assert (cell["plan_validity"], cell["tasks"], cell["split_hash"]) == (0.25, 2, "h")
    assert results["failed"] == {}
    assert [one["processor"] for one in results["machines"]] == ["Abacus"]
    page = paths[0].read_text()
    assert "\nTrained on Abacus (wood), 2 core(s), AVX2 with 1 thread(s).\n" in page
    # Sampled 1/3 and 5/6: mean 58.3, sample standard deviation 50 / sqrt(2) = 35.4.
    # In training 0.5 and 1: mean 75, the same deviation; after 100 of 110 steps 10/11 of that.
    both_ways, in_training = "58.3 ± 35.4 | 25.0 ± 0.0", "68.2 ± 32.1 | 75.0 ± 35.4"
    assert f"| himac | {both_ways} | {in_training} | 66.7 ± 0.0 | 50.0 ± 70.7 | 2 |" in page
    assert "| small | asis | – | 75.0 ± 35.4 | – | – |" in page
    same = "+0.0 | [+0.0, +0.0]"
    assert f"| small | himac | {same} | {same} | {same} | 4 |" in page
    assert "| small | asis | – | – |" in page, "it was not sampled"
    # Against an untrained 75: 10/11 of the trained ones' 75 at the budget. Task a: 0 and -1/11, task b: -1/11 twice.
    asis = next(one for one in results["differences"] if one["method"] == "asis")
    assert (asis["task"], asis["at_end"]["mean"], asis["at_budget"]["mean"]) == ("small", 0.0, pytest.approx(3 / 44))
    assert "| small (100 %) | himac | 1 (1/2) | 110 (1/2) | 75.0 ± 35.4 |" in page
    before = paths[0].read_bytes()
    (fake.output / "tables.md").unlink()
    publish(fake.output)
    assert paths[0].read_bytes() == before


def test_a_cut_last_line_of_the_account_is_not_fatal(fake: Fake) -> None:
    fake.bench(only=("grpo",)).run()
    with (fake.output / "cells.jsonl").open("a") as account:
        account.write('{"cell": "small/gr')
    assert fake.bench(only=("grpo",)).pending() == []
    assert failed(fake.bench(only=("asis",)).run()) == {}
    assert len(last_records(fake.output)) == 4


def test_tables_of_an_unfinished_folder(fake: Fake) -> None:
    fake.bench()
    with pytest.raises(DataError, match="no finished run"):
        publish(fake.output)


def test_the_command_without_a_file() -> None:
    done = subprocess.run([sys.executable, "-m", "himac", "bench"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: give a matrix file and --output DIR")
