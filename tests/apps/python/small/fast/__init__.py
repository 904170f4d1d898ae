from . import speed
