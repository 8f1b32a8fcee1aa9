"""The nouns, interfaces and errors that every other layer may import.

Nothing here does I/O and nothing here imports Twisted's reactor.
"""
