"""The report of one run, or of several side by side: a section a module, put together in
build.py.
"""
