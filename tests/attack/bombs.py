"""Small files that unpack, expand or wait for ever."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from attack.checkpoints import _base, _open
from attack.data_files import KNOWN, PRODUCT
from attack.hostile import held
from attack.transcripts import _run_folder
from himac.bench.matrix import load_matrix
from himac.config_file import dump_config, load_config
from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.alfworld.games import load_games
from himac.envs.sokoban.levels import load_levels
from himac.envs.webshop.catalogue import read_products
from himac.envs.webshop.goals import draw
from himac.report.summary import count_parameters, summarise_run

SECONDS = 25.0


def _xz(path: Path, unit: bytes, total: int = 5_400_000_000) -> None:
    """Streams of 64 MB, one after another: less than a megabyte in all."""
    piece = lzma.compress(unit * ((64 << 20) // len(unit)), preset=6)
    path.write_bytes(piece * (total // (64 << 20)))


def _xz_one_line(folder: Path) -> object:
    _xz(folder / "valid.jsonl.xz", b" ")
    return load_games(folder)


def _xz_many_lines(folder: Path) -> object:
    _xz(folder / "valid.jsonl.xz", b"\n")
    return load_games(folder)


def _xz_levels(folder: Path) -> object:
    _xz(folder / "a.jsonl.xz", b"\n")
    return load_levels(folder)


def _xz_dictionary(folder: Path) -> object:
    """A header that asks for a dictionary of 1.5 GB."""
    small = lzma.compress(b"{}\n", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}])
    header = bytearray(small[12:24])
    header[header.index(bytes([16]), 2)] = 37  # the size, as a power of two
    header[-4:] = struct.pack("<I", zlib.crc32(bytes(header[:-4])))
    (folder / "valid.jsonl.xz").write_bytes(small[:12] + bytes(header) + small[24:])
    return load_games(folder)


def _laughs() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join([*lines, "env: {kwargs: {k: *j}}"])


def _yaml_aliases(folder: Path) -> object:
    path = folder / "c.yaml"
    tree = "\n".join(f"    {line}" for line in _laughs().splitlines()[:-1])
    path.write_text(f"env:\n  kwargs:\n{tree}\n")
    return dump_config(load_config(path))


def _yaml_aliases_in_a_matrix(folder: Path) -> object:
    path = folder / "m.yaml"
    path.write_text(
        "base: b\nenv_steps: 1\nmethods: {a: {}}\ntasks: {a: {}}\noverrides:\n  " + _laughs().replace("\n", "\n  ")
    )
    return load_matrix(path)


def _yaml_merges(folder: Path) -> object:
    lines = ["a0: &a0 {k: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}" for n in range(1, 24)]
    (folder / "c.yaml").write_text("\n".join(lines))
    return load_config(folder / "c.yaml")


def _yaml_recursive(folder: Path) -> object:
    (folder / "c.yaml").write_text("env: {kwargs: &a {b: *a}}\n")
    return dump_config(load_config(folder / "c.yaml"))


def _yaml_deep(folder: Path) -> object:
    (folder / "c.yaml").write_text("env: {kwargs: {k: " + "[" * 200 + "]" * 200 + "}}")
    return dump_config(load_config(folder / "c.yaml"))


def _yaml_deeper(folder: Path) -> object:
    (folder / "c.yaml").write_text("- " * 50_000)
    return load_config(folder / "c.yaml")


def _yaml_large(folder: Path) -> object:
    (folder / "c.yaml").write_text("env:\n  kwargs:\n" + "".join(f"    k{n}: [1, 2, 3]\n" for n in range(300_000)))
    return load_config(folder / "c.yaml")


def _yaml_in_a_report(folder: Path) -> object:
    _run_folder(folder / "run")
    (folder / "run" / "config.yaml").write_text("env:\n  kwargs:\n    " + _laughs().replace("\n", "\n    "))
    return summarise_run(folder / "run")


def _json_deep(folder: Path) -> object:
    (folder / "valid.jsonl").write_text("[" * 200_000 + "\n")
    return load_games(folder)


def _json_deep_metrics(folder: Path) -> object:
    _run_folder(folder / "run")
    (folder / "run" / "metrics.jsonl").write_text('{"a": ' * 100_000 + "1" + "}" * 100_000 + "\n")
    return summarise_run(folder / "run")


def _json_deep_products(folder: Path) -> object:
    (folder / "a.json").write_text("[" * 200_000)
    (folder / "b.json").write_text("{}")
    return list(read_products(folder / "a.json", folder / "b.json"))


def _run(folder: Path) -> Path:
    return shutil.copytree(_base(), folder / "run")


def _manifest_empty(folder: Path) -> object:
    run = _run(folder)
    newest = run / "checkpoints" / "step-000002-1"
    (newest / "manifest.json").write_text("{}")
    state = next(path for path in newest.iterdir() if path.name.startswith("state."))
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    _open(run)
    raise AssertionError("a changed checkpoint was opened without a word")


def _manifest_without_end(folder: Path) -> object:
    run = _run(folder)
    manifest = run / "checkpoints" / "step-000002-1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"/dev/zero": {"bytes": 0, "crc32": 0}}))
    _open(run)
    raise AssertionError("a device was read")


def _manifest_deep(folder: Path) -> object:
    run = _run(folder)
    (run / "checkpoints" / "step-000002-1" / "manifest.json").write_text("[" * 200_000)
    return _open(run)


def _latest_above(folder: Path) -> object:
    run = _run(folder)
    shutil.copytree(run / "checkpoints" / "step-000002-1", run, dirs_exist_ok=True)
    (run / "checkpoints" / "latest").write_text("..")
    _open(run)
    raise AssertionError("a folder outside of the checkpoints was opened")


def _latest_gone(folder: Path) -> object:
    run = _run(folder)
    (run / "checkpoints" / "latest").unlink()
    _open(run)
    raise AssertionError("the run would have begun anew over its checkpoints")


def _latest_endless(folder: Path) -> object:
    run = _run(folder)
    (run / "checkpoints" / "latest").unlink()
    (run / "checkpoints" / "latest").symlink_to("/dev/zero")
    return _open(run)


def _pipe(folder: Path) -> object:
    _run_folder(folder / "run")
    (folder / "run" / "metrics.jsonl").unlink()
    os.mkfifo(folder / "run" / "metrics.jsonl")
    return summarise_run(folder / "run")


def _pipe_as_games(folder: Path) -> object:
    os.mkfifo(folder / "valid.jsonl")
    return load_games(folder)


def _header(folder: Path) -> object:
    (folder / "model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    return count_parameters(folder)


def _wide_level(folder: Path) -> object:
    (folder / "a.txt").write_text("#" * 200_000 + "\n" + "#\n" * 200_000)
    return load_levels(folder)


def _many_things(folder: Path) -> object:
    """Every one of 12,000 things may lie in every one of 12,000 kinds of places."""
    things = "\n".join(f"o{n}_bar_x - object" for n in range(12_000))
    kinds = "".join(f"(objecttype o{n}_bar_x t)" for n in range(12_000))
    pairs = "".join(f"(cancontain r{n} t)" for n in range(12_000))
    named = "\n".join(f"r{n} - rtype" for n in range(12_000))
    problem = (
        f"(define (problem p) (:domain alfred) (:objects {things} {named} t - otype a - agent l - location) "
        f"(:init (atlocation a l) {kinds} {pairs}) (:goal (and (forall (?re) (not (opened ?re))) (exists (?r) (exists "
        "(?o) (and (objecttype ?o t) (receptacletype ?r r1) (inreceptacle ?o ?r))))))"
    )
    task = "pick_and_place_simple-A/trial_1"
    (folder / "valid.jsonl").write_text(json.dumps({"path": task, "task": "x", "pddl_problem": problem}) + "\n")
    benchmark = AlfworldBenchmark(str(folder))
    return benchmark.make_env().reset(seed=0, options=dict(benchmark.tasks("valid")[0].options))


def _many_options(folder: Path) -> object:
    options = {f"o{n}": [{"value": str(v)} for v in range(20)] for n in range(6)}
    (folder / "a.json").write_text(json.dumps([PRODUCT | {"customization_options": options}]))
    (folder / "b.json").write_text(json.dumps(KNOWN))
    return draw(read_products(folder / "a.json", folder / "b.json"))


BOMBS: tuple[Callable[[Path], object], ...] = (
    *(_yaml_aliases, _yaml_aliases_in_a_matrix, _yaml_merges, _yaml_recursive, _yaml_deep, _yaml_deeper, _yaml_large),
    *(_yaml_in_a_report, _json_deep, _json_deep_metrics, _json_deep_products, _manifest_empty, _manifest_without_end),
    *(_manifest_deep, _latest_above, _latest_gone, _latest_endless, _pipe, _pipe_as_games, _header, _wide_level),
    *(_many_things, _many_options, _xz_dictionary, _xz_levels, _xz_many_lines, _xz_one_line),
)


def bombs(number: int, folder: Path) -> str | None:
    bomb = BOMBS[number % len(BOMBS)]
    started = time.monotonic()
    said = held(lambda: bomb(folder))
    taken = time.monotonic() - started
    if said is None and taken > SECONDS:
        said = f"took {taken:.0f} s"
    return said and f"{bomb.__name__.strip('_')}: {said}"
