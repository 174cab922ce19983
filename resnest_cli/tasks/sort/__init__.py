"""Files into folders by the classes of their rows, and back."""
