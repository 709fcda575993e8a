"""Every failure a user can cause ends in one sentence, a non-zero exit code and an intact run directory."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from himac.store.lock import locked
from himac.training.checkpoint import load_latest
from support.cli import Cli, Done

CONFIGS = Path(__file__).resolve().parents[2] / "src" / "himac" / "configs"


def check(done: Done, code: int, *parts: str) -> None:
    """One `error: ...` line that names the parts, nothing else on stderr."""
    assert done.code == code, (done.code, done.out, done.err)
    assert len(done.errors) == 1, done.err
    assert done.err.strip() == done.errors[0], f"more than one sentence: {done.err}"
    assert "Traceback" not in done.out + done.err
    for part in parts:
        assert part in done.errors[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trained(tiny_yaml: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one iteration; copy it before changing it."""
    folder = tmp_path_factory.mktemp("trained")
    done = Cli(folder).run("train", tiny_yaml, "--run-dir", "run", "--model", tiny_model, "train.iterations=1")
    assert done.code == 0, done.err
    return folder / "run"


# ---- configuration


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.iteration=3", ["unknown configuration key 'train.iteration'", "did you mean 'iterations'?"]),
        ("algo.rollouts=3", ["unknown configuration key 'algo.rollouts'", "did you mean 'num_rollouts'?"]),
        ("zzz=3", ["unknown configuration key 'zzz'", "known keys here"]),
        ("train.iterations=0", ["'train.iterations'", "greater than 0", "got 0"]),
        ("train.learner.lr=fast", ["'train.learner.lr'", "got 'fast'"]),
        ("algo.name=sac", ["'algo'", "sac", "grpo"]),
        ("train.iterations", ["is not of the form key.sub=value"]),
        ("seed.deep=1", ["'seed' is a value, not a section"]),
        ("env.name=alfwrld", ["did you mean 'alfworld'"]),
        ("env.kwargs.data=builtin:tiny", ["builtin:small"]),
        ("env.kwargs.data=3", ["alfworld data is 3"]),
        ("env.kwargs.noice=0.1", ["noice", "it takes:"]),
        ("env.train_split=trian", ["no split 'trian'", "train, valid"]),
        ("env={name: gym:FrozenLake-v1}", ["takes actions from Discrete", "name the actions in env.kwargs.actions"]),
        ("env={name: gym:FrozenLak-v1}", ["Did you mean: `FrozenLake`"]),
        ("warmstart.formats=[hiper]", ["does not teach the hierarchical agent"]),
    ],
)
def test_configuration_values(cli: Cli, tiny_yaml: Path, override: str, parts: list[str]) -> None:
    check(cli.run("train", tiny_yaml, override, "--run-dir", "run"), 2, *parts)


def test_mismatched_agent(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    args = ("algo={name: grpo}", "agent.name=hierarchical", "--model", tiny_model, "--run-dir", "run")
    check(cli.run("train", tiny_yaml, *args), 2, "set agent.name=flat")


def test_demonstrations_that_do_not_fit(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    for args in (("warmstart", tiny_yaml, "warm"), ("train", tiny_yaml, "--run-dir", "run")):
        short = ("agent.max_context=2", "--model", tiny_model)
        check(cli.run(*args, *short), 2, "agent.max_context", "raise it")
    check(cli.run("warmstart", tiny_yaml, "warm", "agent.max_context=100", "--model", tiny_model), 2, "100 tokens")
    assert not (cli.folder / "warm").exists()


# ---- environments


@pytest.mark.parametrize(
    "command", [("train", "--run-dir", "run"), ("eval", "--output", "out"), ("play",), ("warmstart", "warm")]
)
def test_an_environment_that_fails(cli: Cli, tiny_model: Path, command: tuple[str, ...]) -> None:
    (cli.folder / "c.yaml").write_text('env: {name: "gym:support.broken_envs:Raises-v0"}', encoding="utf-8")
    done = cli.run(command[0], "c.yaml", *command[1:], "--model", tiny_model)
    check(done, 6, "RuntimeError: the door is stuck at reset", "himac check-env")
    assert not list(cli.folder.glob("*/*.jsonl"))


def test_check_env(cli: Cli, tiny_yaml: Path) -> None:
    for target in (("sokoban",), (tiny_yaml,), ("webshop", "--tasks", "1")):
        done = cli.run("check-env", *target)
        assert (done.code, done.err) == (0, "")
        first, *rest = done.out.splitlines()
        assert first == "ok  members: name, texts, rewards, methods"
        assert [line.split(":")[0] for line in rest] == [
            *("ok  splits", "ok  rollout", "ok  random_blueprint", "ok  demonstrations", "ok  environment")
        ]
    check(cli.run("check-env", "alfwrld"), 2, "did you mean 'alfworld'")
    check(cli.run("check-env", "gym:support.broken_envs:Raises-v0"), 6, "stuck at reset")


def test_missing_configuration(cli: Cli) -> None:
    check(cli.run("train", "nowhere.yaml"), 2, "cannot read configuration nowhere.yaml", "check the path")


@pytest.mark.parametrize("text", ["train: {iterations: 3", "a: b: c", "\tseed: 1"])
def test_broken_yaml(cli: Cli, text: str) -> None:
    (cli.folder / "broken.yaml").write_text(text, encoding="utf-8")
    check(cli.run("train", "broken.yaml"), 2, "broken.yaml is not valid YAML")


@pytest.mark.parametrize(("text", "part"), [("- 1\n", "mapping"), ("3", "mapping"), ("train: 5", "'train'")])
def test_yaml_of_another_kind(cli: Cli, text: str, part: str) -> None:
    (cli.folder / "odd.yaml").write_text(text, encoding="utf-8")
    check(cli.run("train", "odd.yaml"), 2, part)


def test_a_mistake_does_not_take_the_run_directory(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    """The corrected command works without clearing anything away."""
    start = ("train", tiny_yaml, "--run-dir", "run")
    check(cli.run(*start, "env.train_split=trian"), 2)
    check(cli.run(*start, "--model", "nowhere"), 4)
    check(cli.run(*start, "agent.name=flat", "--model", tiny_model), 2)
    done = cli.run(*start, "--model", tiny_model, "train.iterations=1", "train.eval_every=0")
    assert done.code == 0, done.err


# ---- data


def test_data_folder_not_set(cli: Cli) -> None:
    cli.env["ALFWORLD_DATA"] = None
    done = cli.run("train", CONFIGS / "alfworld" / "tiny.yaml", "--run-dir", "run")
    check(done, 3, "ALFWORLD_DATA", "which is not set", "env.kwargs.data")


def test_data_folder_missing_or_empty(cli: Cli) -> None:
    tiny = CONFIGS / "alfworld" / "tiny.yaml"
    cli.env["ALFWORLD_DATA"] = str(cli.folder / "nowhere")
    check(cli.run("train", tiny, "--run-dir", "run"), 3, "nowhere")
    (cli.folder / "nowhere").mkdir()
    check(cli.run("train", tiny, "--run-dir", "run"), 3, "nowhere", "holds no split")


def test_broken_game_file(cli: Cli, tiny_yaml: Path) -> None:
    for split in ("train", "valid"):
        (cli.folder / f"{split}.jsonl").write_text('{"path": "pick_and_place_simple-a/b", "task": "x"}\n', "utf-8")
    done = cli.run("train", tiny_yaml, f"env.kwargs.data={cli.folder}", "--run-dir", "run")
    check(done, 3, "train.jsonl", "line 1", "pddl_problem")
    (cli.folder / "train.jsonl").write_bytes(b"\xff\x00 nothing")
    done = cli.run("train", tiny_yaml, f"env.kwargs.data={cli.folder}", "--run-dir", "run")
    check(done, 3, "train.jsonl", "line 1")


# ---- model


def test_model_directory_missing(cli: Cli, tiny_yaml: Path) -> None:
    check(cli.run("train", tiny_yaml, "--model", "nowhere", "--run-dir", "run"), 4, "nowhere")
    check(cli.run("eval", tiny_yaml, "--model", "nowhere", "--output", "out"), 4, "nowhere")
    check(cli.run("eval", tiny_yaml, "--output", "out"), 2, "no model given")
    assert not (cli.folder / "out").exists()


@pytest.mark.parametrize("missing", ["tokenizer", "config.json", "model.safetensors"])
def test_incomplete_model(cli: Cli, tiny_yaml: Path, tiny_model: Path, missing: str) -> None:
    shutil.copytree(tiny_model, cli.folder / "model")
    for path in (cli.folder / "model").glob(f"{missing}*"):
        path.unlink()
    check(cli.run("train", tiny_yaml, "--model", "model", "--run-dir", "run"), 4, "model", missing.split(".")[0])


def test_truncated_weights(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, cli.folder / "model")
    weights = cli.folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    check(cli.run("train", tiny_yaml, "--model", "model", "--run-dir", "run"), 4, "cannot be loaded")


# ---- run directories


def test_resume_with_another_configuration(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    before = contents(run)
    done = cli.run("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "algo.num_blueprints=4")
    check(done, 5, "another configuration", "algo.num_blueprints (3 -> 4)", "use a new --run-dir")
    assert contents(run) == before


def test_a_run_saved_with_former_names_goes_on(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    former = {"num_blueprints:": "plans:", "num_rollouts:": "executions:"}
    saved, metrics = ((run / name).read_text(encoding="utf-8") for name in ("config.yaml", "metrics.jsonl"))
    text = saved
    for present, name in former.items():
        text = text.replace(present, name)
    assert text != saved
    (run / "config.yaml").write_text(text, encoding="utf-8")
    done = cli.run(
        "train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=1", "algo.plans=3"
    )
    assert done.code == 0, done.err
    assert done.err.count("algo.plans is now algo.num_blueprints") == 1, "of file and command line once"
    assert done.err.count("algo.executions is now algo.num_rollouts") == 1
    assert (run / "config.yaml").read_text(encoding="utf-8") == saved
    assert (run / "metrics.jsonl").read_text(encoding="utf-8") == metrics


def test_resume_of_nothing(cli: Cli, tiny_yaml: Path) -> None:
    check(cli.run("train", tiny_yaml, "--run-dir", "run", "--resume"), 5, "no run to resume", "without --resume")
    assert not (cli.folder / "run").exists()


def test_run_directory_in_use(cli: Cli, tiny_yaml: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    before = contents(run)
    check(cli.run("train", tiny_yaml, "--run-dir", run), 5, "is not empty", "--resume")
    assert contents(run) == before


def test_run_directory_is_a_file(cli: Cli, tiny_yaml: Path) -> None:
    (cli.folder / "run").write_text("mine", encoding="utf-8")
    check(cli.run("train", tiny_yaml, "--run-dir", "run"), 5, "run")
    assert (cli.folder / "run").read_text(encoding="utf-8") == "mine"


def test_damaged_checkpoint(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    name = (run / "checkpoints" / "latest").read_text(encoding="utf-8").strip()
    (run / "checkpoints" / name / "state.tensors").write_bytes(b"nothing")
    done = cli.run("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=2")
    check(done, 5, "is damaged", "state.tensors", "write 'step-000000-1' into")


def test_lost_metrics(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    (run / "metrics.jsonl").unlink()
    done = cli.run("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=2")
    check(done, 5, "metrics.jsonl has 0 lines", "restore the file")


def test_some_lost_metrics_and_the_checkpoint_that_fits(
    cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path
) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]), encoding="utf-8")  # the evaluation and the first phase
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=1")
    check(cli.run(*start), 5, "metrics.jsonl has 2 lines", "step-000001-0", "write 'step-000000-1' into")
    (run / "checkpoints" / "latest").write_text("step-000000-1", encoding="utf-8")
    done = cli.run(*start)
    assert done.code == 0, done.err
    assert (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True) == lines


def test_lost_timings_block_nothing(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    (run / "timings.jsonl").unlink()
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume")
    for iterations, kept in ((2, 2), (3, 5)):  # a second time too: the lines that are counted are those there are
        done = cli.run(*start, f"train.iterations={iterations}")
        assert done.code == 0, done.err
        phases = [json.loads(line)["phase"] for line in (run / "timings.jsonl").open(encoding="utf-8")]
        assert phases.count("macro") == phases.count("micro") == iterations - 1
        assert len(phases) >= kept


def test_a_deleted_pointer(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path) -> None:
    run = shutil.copytree(trained, cli.folder / "run")
    (run / "checkpoints" / "latest").unlink()
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=1")
    before = (run / "metrics.jsonl").read_bytes()
    check(cli.run(*start), 5, "latest is missing", "write 'step-000001-0' into")
    assert (run / "metrics.jsonl").read_bytes() == before


def test_two_trainings_in_one_directory(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    run = cli.folder / "run"
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", "run", "train.iterations=1")
    first = cli.start(*start).when(lambda: (run / "config.yaml").exists())
    check(cli.run(*start, "--resume"), 5, "run is in use by another himac", "wait for it")
    check(cli.run(*start), 5, "run is")  # in use, or no longer empty
    done = first.wait()
    assert done.code == 0, done.err
    assert [json.loads(line)["phase"] for line in (run / "metrics.jsonl").open()] == ["eval", "macro", "micro", "eval"]


def test_two_evaluations_in_one_directory(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    with locked(cli.folder / "out"):
        done = cli.run("eval", tiny_yaml, "--model", tiny_model, "--output", "out", "--limit", "1")
    check(done, 5, "out is in use by another himac")
    with locked(cli.folder / "warm", cli.folder / ".warm.lock"):
        check(cli.run("warmstart", tiny_yaml, "warm", "--model", tiny_model), 5, "warm is in use")
    assert not (cli.folder / "warm").exists()


# ---- a machine that refuses


@pytest.mark.parametrize("room", ["weights", "optimiser", "metrics"])
def test_full_disk(cli: Cli, tiny_yaml: Path, tiny_model: Path, trained: Path, room: str) -> None:
    """Files that cannot grow stand for a full disk: the kernel refuses the write in the same place."""
    run = shutil.copytree(trained, cli.folder / "run")
    weights = (tiny_model / "model.safetensors").stat().st_size
    metrics = (run / "metrics.jsonl").stat().st_size
    limit = {"weights": weights // 2, "optimiser": weights + 1000, "metrics": metrics + 100}[room]
    former = (run / "checkpoints" / "latest").read_text(encoding="utf-8")
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", run, "--resume", "train.iterations=2")
    check(cli.run(*start, file_bytes=limit), 5, "cannot write", "metrics" if room == "metrics" else "checkpoint")
    assert (run / "checkpoints" / "latest").read_text(encoding="utf-8") == former
    found = load_latest(run)
    assert found is not None
    assert found.name == former.strip()
    assert cli.run(*start).code == 0
    assert [json.loads(line)["iteration"] for line in (run / "metrics.jsonl").open()] == [0, 0, 0, 1, 1, 1, 2]


def test_full_disk_in_the_warm_start(cli: Cli, tiny_yaml: Path) -> None:
    assert cli.run("init-model", tiny_yaml, "init").code == 0
    size = (cli.folder / "init" / "model.safetensors").stat().st_size
    args = ("warmstart", tiny_yaml, "warm", "--model", "init", "warmstart.passes=1")
    check(cli.run(*args, file_bytes=size // 2), 5, "cannot write", "warm")
    assert not (cli.folder / "warm").exists()
    check(cli.run("init-model", tiny_yaml, "other", file_bytes=size // 2), 5, "other")
    assert not (cli.folder / "other").exists()


def test_interrupt(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    """Ctrl-C in the middle of a phase."""
    start = ("train", tiny_yaml, "--model", tiny_model, "--run-dir", "run")
    run = cli.folder / "run"
    latest = run / "checkpoints" / "latest"
    done = cli.start(*start).when(lambda: latest.exists() and "-1" in latest.read_text()).send(signal.SIGINT)
    check(done, 130, "interrupted", "--resume")
    assert load_latest(run) is not None
    resumed = cli.run(*start, "--resume", "train.iterations=1")
    assert resumed.code == 0, resumed.err
    assert "resumed run at iteration 0, phase 1" in resumed.out.replace("\n", " ")


def test_interrupt_before_training(cli: Cli, tiny_yaml: Path) -> None:
    """Ctrl-C in the warm start leaves what was finished."""
    run = cli.folder / "run"
    running = cli.start("train", tiny_yaml, "--run-dir", "run", "warmstart.passes=100")
    check(running.when(lambda: (run / "init").exists()).send(signal.SIGINT), 130, "interrupted")
    assert not (run / "warmstart").exists()
    shutil.rmtree(run / "init")


# ---- the installed command


def test_the_command_itself(tmp_path: Path) -> None:
    """In a fresh interpreter, without the fork server of the other tests."""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"sed": 1}), encoding="utf-8")
    done = alone(tmp_path, "train", "c.yaml")
    check(done, 2, "unknown configuration key 'sed'", "did you mean 'seed'?")
    assert not (tmp_path / "runs").exists()


def alone(folder: Path, *args: str) -> Done:
    """The last word of the output is whether torch was imported, which takes seconds."""
    code = "import sys; from himac.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("train", "c.yaml", "env.train_split=trian"), 2),
        (("train", "c.yaml", "agent.name=flat"), 2),
        (("train", "c.yaml", "env={name: gym:FrozenLake-v1}"), 2),
        (("train", "c.yaml", "model.path=nowhere"), 4),
        (("eval", "c.yaml", "--output", "out"), 2),
        (("eval", "c.yaml", "--output", "out", "--model", "nowhere"), 4),
        (("play", "c.yaml"), 2),
        (("warmstart", "c.yaml", "warm", "--model", "nowhere"), 4),
    ],
)
def test_simple_mistakes_do_not_wait_for_torch(tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    (tmp_path / "c.yaml").write_text("env: {name: alfworld, kwargs: {data: 'builtin:small'}}", encoding="utf-8")
    done = alone(tmp_path, *args)
    check(done, code)
    assert done.out.split()[-1] == "False"


def test_usage(cli: Cli) -> None:
    done = cli.run("train")
    assert done.code == 2
    assert "Missing argument" in done.err
    assert "Traceback" not in done.err
