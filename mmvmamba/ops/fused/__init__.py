from .op import add_norm, convolve_silu, fuses, gate_channels

__all__ = ['add_norm', 'convolve_silu', 'fuses', 'gate_channels']
