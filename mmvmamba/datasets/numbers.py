"""What counts as a number in a file that anybody may have written."""

__all__ = ['LARGEST', 'is_number', 'is_whole']

# Up to here every whole number is a float, too.
LARGEST = 2**53


def is_number(value: object) -> bool:
    """Whether a value is a number that can be counted with: finite, and no truth value."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -LARGEST <= value <= LARGEST
    )


def is_whole(value: object) -> bool:
    """Whether a value is an integer, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)
