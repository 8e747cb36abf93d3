"""The commands of a shell, a module for each family of them. `cli` puts them together."""
