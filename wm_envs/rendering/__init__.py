"""Pictures of states: a canvas of pixels, and a window to show them in."""
