"""Engines by name; the settings of each say where it is (`himac.config.EngineConfig`)."""

from __future__ import annotations

import importlib
from typing import cast

from himac.config import Config
from himac.engines.base import Engine
from himac.errors import ConfigError
from himac.models.policy import Policy


def make_engine(config: Config, policy: Policy | None, max_live: int) -> Engine:
    """The engine that `engine.name` chooses, imported only now; see `Engine.build`.

    Raises:
        ConfigError: its module or class is not there.
    """
    module, _, name = config.engine.factory.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine '{config.engine.name}' cannot be loaded ({error}); reinstall its package") from error
    return cast("Engine", kind.build(config, policy, max_live))
