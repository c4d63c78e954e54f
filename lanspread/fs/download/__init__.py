"""Fetching a game into its folder: the transaction, what it finds there, what it leaves."""
