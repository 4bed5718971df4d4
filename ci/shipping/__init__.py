"""What ci/wheels.py, ci/workflow.py and ci/release.py are made of: the matrix, and what is done with its rows."""
