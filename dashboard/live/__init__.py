"""The live page: every tier's queue as it moves, over one websocket."""
