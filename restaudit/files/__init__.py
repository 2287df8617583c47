"""Files from people we do not know: folders read and written without following links, JSON and YAML
read strictly, and the user's cache.

Every other room reads and writes through here. A run folder is data that a stranger may have
prepared: a link in it must not lead out of it, and a pipe in it must not hold a reader up.
"""
