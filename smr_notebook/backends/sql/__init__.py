"""Tables of databases, through SQLAlchemy: what a result may be written to. The extra `sql` brings it."""
