"""Pong twice.

`wm/Pong-v0`, a compiled copy exact to the frame, and `wm/PongAtari-v0`, the Atari game itself.
"""
