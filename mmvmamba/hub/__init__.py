"""Inferencers of mmdet, mmseg and mmpretrain that know our models: subclasses, nothing patched."""

__all__: list[str] = []
