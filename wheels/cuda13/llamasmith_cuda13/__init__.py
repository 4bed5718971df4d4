"""llamasmith's backend ``cuda``: a library that llamasmith finds and loads; there is nothing to call here."""
