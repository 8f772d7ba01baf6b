"""What Portico must know of Celery where Celery is not loaded: the API never imports it."""
