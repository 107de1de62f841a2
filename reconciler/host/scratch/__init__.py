"""Looks through scratch folders and removes what is old in them. See `core.cleanup` for what goes.

Somebody may own part of a tree and change it while it is walked. So no path is ever followed twice: every folder is
opened by its name within the folder that is held open, never through a link, and it must lie on the root's own file
system. What is removed is removed by its name within such a folder. `..` is never used.

    root.py     opens a root, or says why it must not be
    clock.py    says whether the dates in it are of this host's clock
    walk.py     finds what goes
    listing.py  lists folders, by name where another pass may have to go on
    remove.py   removes it
    names.py    writes down what went, by name
    survey.py   counts it instead
    crew.py     does that in several threads, for a limited time, at low priority
    clean.py    all of it together
    apart.py    where that does not answer: in a process of its own
"""
