"""mwanda: prune a multilingual language model in one shot without losing its languages.

The public names are listed in ``__init__.pyi``. Each is imported when it is first used, so that a
mistake in a path or a recipe is told without importing torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
