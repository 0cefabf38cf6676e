"""The engine: a coordinator without a store, worker processes, and lanes that call metered stores."""
