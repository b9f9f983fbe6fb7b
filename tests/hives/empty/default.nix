# Nothing to build and nowhere to go: an empty inventory.
{ }
