"""What mmengine is given when it asks for a checkpoint."""

from .convert import ENTRIES, convert, is_state_dict
from .safe_load import read_checkpoint
from .sources import locate

__all__ = ['load_from_any']


def load_from_any(filename: str, map_location: str | None = None) -> dict:
    """Reads a checkpoint: mmengine's own as it is, that of another project with our key names."""
    checkpoint = read_checkpoint(locate(filename), map_location)
    meta = checkpoint.get('meta')
    if 'message_hub' in checkpoint or (isinstance(meta, dict) and 'mmengine_version' in meta):
        return checkpoint
    if not any(is_state_dict(part) for part in (checkpoint, *map(checkpoint.get, ENTRIES))):
        return checkpoint
    converted = convert(checkpoint, filename)
    if not converted.is_changed:
        return checkpoint
    return dict(meta=converted.meta, state_dict=converted.state_dict)
