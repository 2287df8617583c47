"""The Samples page: the texts behind every number, searched, filtered and side by side; always
shown as plain text.
"""
