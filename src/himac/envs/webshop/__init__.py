"""WebShop: buying what an instruction asks for in a text shop."""

from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.store import Store, open_store

__all__ = ["Store", "WebShopEnv", "open_store"]
