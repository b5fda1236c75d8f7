from .dispatch import available_backends, scan_backend
from .op import selective_scan
from .reference import selective_scan_ref

__all__ = ['available_backends', 'scan_backend', 'selective_scan', 'selective_scan_ref']
