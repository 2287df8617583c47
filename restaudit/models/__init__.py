"""Models from elsewhere: found, digested, refused where they could run code, and loaded."""
