"""As in the tests of the operators on the CPU, no kernel may rely on fresh memory."""

from tests.ops.conftest import fresh_memory_is_nan

__all__ = ['fresh_memory_is_nan']
