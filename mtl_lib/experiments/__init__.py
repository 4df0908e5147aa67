"""Every table and figure of the book as a named sweep of runs into the ledger."""
