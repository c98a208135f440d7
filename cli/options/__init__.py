"""Options that several commands share or that are many: how they are called, and the values behind them."""
