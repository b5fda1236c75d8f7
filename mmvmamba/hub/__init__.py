"""Our models under their names in the inferencers of mmpretrain, mmdet and mmseg."""

__all__: list[str] = []
