"""What the page of a run shows, gathered section by section; ``skelssl.pictures`` draws it."""
