"""Commands whose names are those of public functions, so that no module of the package bears them."""
