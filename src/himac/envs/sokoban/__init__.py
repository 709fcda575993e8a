"""Sokoban: push boxes onto targets, as text or as pictures."""

from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.generator import Scale, generate_level, generate_levels
from himac.envs.sokoban.level import Level
from himac.envs.sokoban.levels import load_levels
from himac.envs.sokoban.solver import Solution, solve

__all__ = ["Level", "Scale", "SokobanEnv", "Solution", "generate_level", "generate_levels", "load_levels", "solve"]
