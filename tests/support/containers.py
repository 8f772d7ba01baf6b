"""The servers as containers, for machines with an engine. Each yields the settings that lead to it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import ExecWaitStrategy, HttpWaitStrategy

_SECRET = "only-for-tests"


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    container = (
        DockerContainer("postgres:18-alpine")
        .with_envs(POSTGRES_USER="portico", POSTGRES_PASSWORD=_SECRET)
        .with_command("postgres -c fsync=off -c full_page_writes=off -c max_connections=200")
        .with_exposed_ports(5432)
        # By TCP: while the image initialises itself, it listens on the socket only.
        .waiting_for(ExecWaitStrategy(["pg_isready", "-h", "127.0.0.1", "-U", "portico"]))
    )
    with container:
        address = _address(container, 5432)
        yield {"PORTICO_POSTGRES_URL": f"postgresql://portico:{_SECRET}@{address}/portico"}


@contextmanager
def redis() -> Iterator[dict[str, str]]:
    container = (
        DockerContainer("valkey/valkey:9-alpine")
        .with_command("valkey-server --databases 64 --save ''")
        .with_exposed_ports(6379)
        .waiting_for(ExecWaitStrategy(["valkey-cli", "ping"]))
    )
    with container:
        yield {"PORTICO_REDIS_URL": f"redis://{_address(container, 6379)}/0"}


@contextmanager
def mongo() -> Iterator[dict[str, str]]:
    # Initiates the replica set, which transactions need, and succeeds once it has a primary.
    ready = (
        "try { rs.status() } catch { rs.initiate({_id: 'rs0', members: [{_id: 0, host: 'localhost'}]}) };"
        "quit(db.hello().isWritablePrimary ? 0 : 1)"
    )
    container = (
        DockerContainer("mongo:8")
        .with_command("mongod --replSet rs0 --bind_ip_all")
        .with_exposed_ports(27017)
        .waiting_for(ExecWaitStrategy(["mongosh", "--quiet", "--eval", ready]))
    )
    with container:
        yield {
            "PORTICO_MONGO_URL": f"mongodb://{_address(container, 27017)}/?directConnection=true"
        }


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    container = (
        DockerContainer("chrislusf/seaweedfs:4.48")
        .with_envs(AWS_ACCESS_KEY_ID="portico", AWS_SECRET_ACCESS_KEY=_SECRET)
        .with_command("mini -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -bucket=portico")
        .with_exposed_ports(8333)
        .waiting_for(HttpWaitStrategy(8333, "/healthz"))
    )
    with container:
        yield {
            "PORTICO_S3_URL": f"http://{_address(container, 8333)}",
            "PORTICO_S3_BUCKET": "portico",
            "PORTICO_S3_ACCESS_KEY": "portico",
            "PORTICO_S3_SECRET_KEY": _SECRET,
        }


CONTAINERS: Mapping[str, Callable[[], AbstractContextManager[dict[str, str]]]] = MappingProxyType(
    {"postgres": postgres, "redis": redis, "mongo": mongo, "s3": s3}
)


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"
