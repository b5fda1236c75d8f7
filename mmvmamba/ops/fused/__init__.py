from .op import add_norm, convolve_silu, evaluates, fuses, gate_channels

__all__ = ['add_norm', 'convolve_silu', 'evaluates', 'fuses', 'gate_channels']
