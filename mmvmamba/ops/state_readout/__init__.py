"""What follows Spatial-Mamba's scan, in one pass over the states: for inference on a CPU."""

from .op import merged_taps, read_out, read_out_ref

__all__ = ['merged_taps', 'read_out', 'read_out_ref']
