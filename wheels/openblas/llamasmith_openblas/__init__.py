"""llamasmith's backend ``openblas``: a library that llamasmith finds and loads; there is nothing to call here."""
