"""Numbers from losses, parameters and tables. Imports nothing of ``problems`` or ``suite``."""
