"""When periodic tasks run: schedules, their arithmetic, and the tasks themselves. No clock, no store, no broker."""
