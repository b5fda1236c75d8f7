"""The web page: ``service.py`` predicts and draws, ``page.py`` is what is seen."""

__all__: list[str] = []
