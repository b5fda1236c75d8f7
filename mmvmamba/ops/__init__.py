from .selective_scan import (
    available_backends,
    scan_backend,
    scan_decompositions,
    selective_scan,
    selective_scan_ref,
)

__all__ = [
    'available_backends',
    'scan_backend',
    'scan_decompositions',
    'selective_scan',
    'selective_scan_ref',
]
