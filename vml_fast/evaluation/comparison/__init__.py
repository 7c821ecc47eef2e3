"""Methods compared on equal budgets: cells of a table, run one by one, kept, and reported."""
