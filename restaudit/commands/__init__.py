"""The command line: one file a command; each reads its arguments, calls the rooms below, and says
what came out.
"""
