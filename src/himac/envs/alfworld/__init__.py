"""ALFWorld: household tasks played as text games."""

from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import Game, load_games

__all__ = ["AlfworldEnv", "Game", "load_games"]
