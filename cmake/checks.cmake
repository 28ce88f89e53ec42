# Layout checks, run as tests.
