"""Runs a WSGI app as a component: `guest` is what componentize-py packages, the rest is what it is made of."""
