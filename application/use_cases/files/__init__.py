"""What users do with files, and the jobs that clean up behind them."""
