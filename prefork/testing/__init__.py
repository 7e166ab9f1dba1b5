"""What tests of apps use: pytest fixtures, and the servers behind them."""
