"""Real time: rooms, the messages in them, the connections of users, and what the server tells them."""
