"""What the gateway says of itself: metrics and logs, and never a word of what goes through it.

Importing this loads no reactor.
"""
