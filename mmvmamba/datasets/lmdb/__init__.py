"""LMDB databases: record layout, page checks, reader, writer, maintenance, mmengine's backend."""

__all__: list[str] = []
