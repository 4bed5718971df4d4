"""The patch series: read it, check it, apply it to a copy of the pinned tree, write it back out.

``python -m llamasmith.patchset`` runs inside the build, where neither the C extension nor numpy, rich or
typer exist: everything here needs the standard library and ``llamasmith.errors`` only, and no git.
"""
