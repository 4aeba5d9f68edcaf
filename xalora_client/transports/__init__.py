"""One HTTP exchange each, over requests or aiohttp; what they have in common is in ``environment``."""
