"""The configuration as a file: one YAML plus dotted overrides (`train.learner.lr=1e-4`).

Unknown keys, wrong types and values out of range are refused at the door with a sentence that names the key. The
resolved tree is saved with every run.
"""

from __future__ import annotations

import contextlib
import difflib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from himac.config import Config, GrpoConfig, HimacConfig
from himac.errors import ConfigError
from himac.files import SETTINGS_BYTES, parse_yaml, read_text


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (or start from the defaults), apply dotted overrides and validate.

    Raises:
        ConfigError: missing file, broken YAML, unknown key or value out of range.
    """
    tree: Any = {}
    if path is not None:
        try:
            tree = parse_yaml(read_text(Path(path), SETTINGS_BYTES)) or {}
        except OSError as error:
            raise ConfigError(f"cannot read configuration {path}: {error.strerror or error}; check the path") from error
        except ValueError as error:
            raise ConfigError(f"configuration {path} is not valid YAML: {error}; correct that") from error
        if not isinstance(tree, dict):
            raise ConfigError(
                f"configuration {path} must be a mapping of keys, not a {type(tree).__name__}; see configs/"
            )
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree)


def parse_config(tree: dict[str, Any]) -> Config:
    """Validate a plain tree; the message of a failure names the first offending key.

    With `algo.hierarchy: false` the result is flat GRPO over the flat agent, with groups of `algo.executions` episodes;
    the warm start shows that agent's format unless `warmstart.formats` is given.
    """
    algo = tree.get("algo")
    if isinstance(algo, dict) and "name" not in algo:
        tree = tree | {"algo": {"name": HimacConfig().name} | algo}
    try:
        return _flat_where_asked(Config.model_validate(tree))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _flat_where_asked(config: Config) -> Config:
    algo, warm = config.algo, config.warmstart
    if not isinstance(algo, HimacConfig) or algo.hierarchy:
        return config
    flat = GrpoConfig(tasks=algo.tasks, samples=algo.executions, std=algo.std, resample=algo.resample)
    formats = warm.formats if "formats" in warm.model_fields_set else ("flat",)
    return config.model_copy(
        update={
            "algo": flat,
            "agent": config.agent.model_copy(update={"name": "flat"}),
            "warmstart": warm.model_copy(update={"formats": formats}),
        }
    )


def save_config(config: Config, path: Path) -> None:
    """Write the resolved tree as YAML."""
    path.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: Config) -> str:
    """The resolved tree as YAML text."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def difference(old: Config, new: Config, ignore: Sequence[str] = ()) -> list[str]:
    """Dotted keys whose values differ, except those in `ignore` and in sections named there."""
    before, after = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    keys = sorted(set(before) | set(after))
    return [
        f"{key} ({before.get(key)} -> {after.get(key)})"
        for key in keys
        if before.get(key) != after.get(key) and not any(f"{key}.".startswith(f"{name}.") for name in ignore)
    ]


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _apply(tree: dict[str, Any], override: str) -> None:
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
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override '{override}': '{part}' is a value, not a section")
        node = child
    node[parts[-1]] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    # Pydantic puts the chosen algorithm's name behind `algo`.
    chosen, location = (loc[1], ["algo", *loc[2:]]) if loc[0] == "algo" and len(loc) > 1 else (None, loc)
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], chosen)
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys here: {', '.join(known)}"
        return f"unknown configuration key '{key}'; {hint}"
    if first["type"] == "value_error":  # of our own validators, which say it all
        return f"configuration key '{key}': {first['ctx']['error']}"
    more = len(error.errors()) - 1
    return f"configuration key '{key}': {first['msg']} (got {reprlib.repr(first['input'])})" + (
        f"; {more} more" if more else ""
    )


def _known_keys(location: Sequence[str], algorithm: str | None) -> list[str]:
    tree: dict[str, Any] = {} if algorithm is None else {"algo": {"name": algorithm}}
    node: Any = Config.model_validate(tree).model_dump()
    for part in location:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return sorted(node) if isinstance(node, dict) else []
