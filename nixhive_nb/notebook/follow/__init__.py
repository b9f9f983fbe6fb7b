"""Following something in a cell while it runs: as values, as HTML that is renewed, and as a widget in its place."""
