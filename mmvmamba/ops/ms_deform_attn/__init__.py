from .dispatch import available_backends, deform_attn_backend
from .op import ms_deform_attn
from .reference import ms_deform_attn_ref

__all__ = ['available_backends', 'deform_attn_backend', 'ms_deform_attn', 'ms_deform_attn_ref']
