"""Following something in a cell while it goes on: as values, as HTML that is renewed, and as a widget in its place."""
