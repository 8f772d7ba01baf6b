"""Facts about Celery for processes that do not load it: the API never imports it."""
