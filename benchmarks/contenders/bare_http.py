"""The handler in bare FastAPI: no guard, and no other route."""

import uvloop
from fastapi import FastAPI

from benchmarks.contenders.http import Page, get, serve, show_page

app = FastAPI()
app.get("/api/v1/bench/page", response_model=Page)(show_page)

if __name__ == "__main__":
    uvloop.run(serve(app, {"page": [get("/api/v1/bench/page")]}))
