from .reference import selective_scan_ref

__all__ = ['selective_scan_ref']
