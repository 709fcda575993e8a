from support.tiny_engine import tiny, tiny_path

__all__ = ["tiny", "tiny_path"]
