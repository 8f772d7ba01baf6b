"""The only reader of the environment: variables, `.env` files and secret files become `application.settings`."""
