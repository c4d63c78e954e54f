"""lanspread: a shared library of games for everyone on the local network."""

__version__ = "0.1.0"
