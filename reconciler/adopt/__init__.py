"""Describes what runs by hand as desired state: reads it from its daemon, writes it as a layer, changes nothing of it.

    supervisord.py, units.py   what runs, and how it is started, as `found.Found`
    words.py                   what a command, a value, a name become in a layer
    layer.py                   the layer's text, with its comments
"""
