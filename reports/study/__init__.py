"""A study of several methods as one document: spent, gained, and what can be concluded."""
