"""Pictures: of predictions, of data, and of what goes on inside a model."""

__all__: list[str] = []
