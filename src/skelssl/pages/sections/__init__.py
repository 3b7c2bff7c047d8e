"""What the page of a run shows, gathered section by section; ``skelssl.pages.figures`` draws it."""
