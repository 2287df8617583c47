"""People: human scores of texts, and the rating desk on which they are asked."""
