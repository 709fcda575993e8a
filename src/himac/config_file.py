"""The configuration as a file: one YAML plus dotted overrides (`train.learner.lr=1e-4`).

Unknown keys, wrong types and values out of range are refused at the door with a sentence that names the key. The
resolved tree is saved with every run.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from himac.config import (
    DEFAULT_ALGORITHM,
    DEFAULT_ENGINE,
    ENGINES,
    AlgoConfig,
    Config,
    Trained,
    algorithm_settings,
    engine_settings,
)
from himac.errors import ConfigError, HimacError
from himac.files import SETTINGS_BYTES, parse_yaml, read_text
from himac.renamed import RENAMED, given_twice, present_names, warn
from himac.shipped import located, suggestion

logger = logging.getLogger(__name__)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, a shipped one by its name, or start from the defaults; apply dotted overrides and validate.

    Where `algo.name=...`, `agent.name=...` or `engine.name=...` chooses another one than the file's, what the file says
    for its own is left out: keys that the chosen method or engine does not have, the method's agent, and demonstrations
    in its format.

    Raises:
        ConfigError: missing file, broken YAML, unknown key or value out of range.
    """
    tree: Any = {}
    if path is not None:
        try:
            tree = parse_yaml(read_text(located(Path(path)), SETTINGS_BYTES)) or {}
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"cannot read configuration {path}: {reason}; {suggestion(Path(path))}") from error
        except ValueError as error:
            raise ConfigError(f"configuration {path} is not valid YAML: {error}; correct that") from error
        if not isinstance(tree, dict):
            raise ConfigError(
                f"configuration {path} must be a mapping of keys, not a {type(tree).__name__}; see configs/"
            )
    tree, former = present_names(tree)
    parsed, typed_former = _present([_parse(override) for override in overrides])
    warn(former | typed_former)
    _leave_other_method(tree, {".".join(key): value for key, value in parsed})
    for key, value in parsed:
        _apply(tree, key, value)
    return parse_config(tree)


def parse_config(tree: dict[str, Any]) -> Config:
    """Validate a plain tree; the message of a failure names the first offending key.

    Unless they are given, `agent.name` is the agent that the algorithm trains, `warmstart.formats` the format of
    that agent, and keys of `train.learner` are those that the algorithm brings (`himac-plus` does). With
    `algo.hierarchy: false` the result is flat GRPO over the flat agent, with groups of `algo.num_rollouts` episodes.
    """
    tree, former = present_names(tree)
    warn(former)
    try:
        return _followed(Config.model_validate(tree))
    except ValidationError as error:
        raise ConfigError(_explain(error, tree)) from error


def _followed(config: Config) -> Config:
    """The configuration with what follows from the algorithm, where nothing else is given."""
    algo, agent, warm, train = config.algo, config.agent, config.warmstart, config.train
    trained = algo.resolved()
    if trained is not algo or "name" not in agent.model_fields_set:
        agent = agent.model_copy(update={"name": trained.trains})
    if "formats" not in warm.model_fields_set:
        shown = agent.name if agent.name in get_args(Trained) else trained.trains
        warm = warm.model_copy(update={"formats": (shown,)})
    open_keys = trained.learner.keys() - train.learner.model_fields_set
    learner = train.learner.model_copy(update={key: trained.learner[key] for key in open_keys})
    train = train.model_copy(update={"learner": learner})
    return config.model_copy(update={"algo": trained, "agent": agent, "warmstart": warm, "train": train})


def save_config(config: Config, path: Path) -> None:
    """Write the resolved tree as YAML."""
    path.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: Config) -> str:
    """The resolved tree as YAML text."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def difference(old: Config, new: Config, ignore: Sequence[str] = ()) -> list[str]:
    """Dotted keys whose values differ, except those in `ignore` and in sections named there."""
    before, after = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    keys = sorted(set(before) | set(after))
    return [
        f"{key} ({before.get(key)} -> {after.get(key)})"
        for key in keys
        if before.get(key) != after.get(key) and not any(f"{key}.".startswith(f"{name}.") for name in ignore)
    ]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values; lists are values."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _parse(override: str) -> tuple[list[str], Any]:
    """The parts of the key, and the value."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"override '{override}' is not of the form key.sub=value")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"the value of override '{override}' is not valid YAML; quote it") from error
    if isinstance(value, str):  # YAML reads 1e-4 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    return parts, value


def _present(typed: Sequence[tuple[list[str], Any]]) -> tuple[list[tuple[list[str], Any]], frozenset[str]]:
    """Overrides with the present names of their keys, and the former ones that were typed."""
    keys = {".".join(parts) for parts, _ in typed}
    present, former = [], keys & RENAMED.keys()
    for name in former:
        if RENAMED[name] in keys:
            raise given_twice(name)
    for parts, value in typed:
        key = RENAMED.get(dotted := ".".join(parts), dotted)
        below, found = present_names(value, key)
        present.append((key.split("."), below))
        former |= found
    return present, frozenset(former)


def _apply(tree: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override '{'.'.join(parts)}': '{part}' is a value, not a section")
        node = child
    node[parts[-1]] = value


def _leave_other_method(tree: dict[str, Any], typed: Mapping[str, Any]) -> None:
    """Take from a file's tree what belongs to its own method, agent or engine, when overrides name another one."""
    algo, agent, warm, engine = (
        section if isinstance(section := tree.get(name), dict) else {}
        for name in ("algo", "agent", "warmstart", "engine")
    )
    method, name, server = (typed.get(f"{section}.name") for section in ("algo", "agent", "engine"))
    left = list[str]()
    if isinstance(method, str) and method != algo.get("name", DEFAULT_ALGORITHM):
        with contextlib.suppress(HimacError):  # an unknown one is told of later
            chosen = algorithm_settings(method)
            left += [f"algo.{key}" for key, value in algo.items() if not _takes(chosen, key, value)]
            left += ["agent.name"] * (agent.get("name", chosen.trains) != chosen.trains)
            name = name or chosen.trains
    formats = warm.get("formats")
    if name in get_args(Trained) and isinstance(formats, list) and name not in formats:
        left.append("warmstart.formats")
    if isinstance(server, str) and server != engine.get("name", DEFAULT_ENGINE):
        with contextlib.suppress(HimacError):
            left += [f"engine.{key}" for key in engine if key not in engine_settings(server).model_fields]
    left = [key for key in left if key not in typed]
    for section, key in (entry.split(".") for entry in left):
        del tree[section][key]
    if left:
        logger.warning("left out, for another method, agent or engine than the one chosen: %s", ", ".join(left))


def _takes(chosen: type[AlgoConfig], key: str, value: Any) -> bool:
    """Whether an algorithm has this setting, and may have this value for it."""
    try:
        chosen.model_validate({key: value})
    except ValidationError as error:
        return all(fault["loc"][:1] != (key,) for fault in error.errors())
    return True


def _explain(error: ValidationError, tree: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], tree)
        owners = [
            name for name in ENGINES.builtin if key in (f"engine.{own}" for own in engine_settings(name).model_fields)
        ]
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys here: {', '.join(known)}"
        hint = f"it belongs to engine.name={owners[0]}" if owners else hint
        return f"unknown configuration key '{key}'; {hint}"
    if first["type"] == "value_error":  # of our own validators, which say it all
        return f"configuration key '{key}': {first['ctx']['error']}"
    more = len(error.errors()) - 1
    return f"configuration key '{key}': {first['msg']} (got {reprlib.repr(first['input'])})" + (
        f"; {more} more" if more else ""
    )


def _known_keys(location: Sequence[str], tree: Mapping[str, Any]) -> list[str]:
    chosen = {
        name: {"name": tree[name]["name"]}
        for name in ("algo", "engine")  # whose keys depend on it
        if location[:1] == [name] and "name" in tree[name]
    }
    node: Any = Config.model_validate(chosen).model_dump()
    for part in location:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return sorted(node) if isinstance(node, dict) else []
