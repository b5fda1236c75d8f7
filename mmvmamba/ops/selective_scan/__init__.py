from .dispatch import available_backends, scan_backend
from .op import scan_decompositions, selective_scan
from .reference import selective_scan_ref

__all__ = [
    'available_backends',
    'scan_backend',
    'scan_decompositions',
    'selective_scan',
    'selective_scan_ref',
]
