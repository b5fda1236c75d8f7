"""LMDB databases: record layout, reader, writer, maintenance, and a file backend for mmengine."""

__all__: list[str] = []
