"""Documents: one model, made from run folders by pure functions, and drawn in several formats."""
