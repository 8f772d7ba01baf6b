"""`compose.yaml` and `Containerfile` are safe by default; `make lint` says whether they are valid."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from adapters.environment.variables import SECRET_FILES, VARIABLES
from adapters.security.secret_files import make_secrets
from tests.support.readme import blocks

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
OBSERVERS = {name for name, service in SERVICES.items() if service.get("profiles") == ["observe"]}
MONITORING = ROOT / "docs" / "monitoring"


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_few_rights_and_bounds(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert service["mem_limit"]
    assert service["pids_limit"]
    # Docker's own user of SeaweedFS differs from version to version; without capabilities root is as good.
    assert service["user"].startswith("0:") == (name == "seaweedfs")
    if service["restart"] != "no":
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["stop_grace_period"]


def test_only_the_api_the_store_and_grafana_are_published_and_only_on_this_host() -> None:
    published = {
        name: port for name, service in SERVICES.items() for port in service.get("ports", ())
    }

    assert set(published) == {"api", "seaweedfs", "grafana"}
    assert {"prometheus", "blackbox", "grafana"} == OBSERVERS
    assert all(
        re.fullmatch(r"\$\{\w+:-127\.0\.0\.1:\d+\}:\d+", port) for port in published.values()
    )
    open_networks = {n for n, net in COMPOSE["networks"].items() if not net.get("internal")}
    reaching_out = {n for n, s in SERVICES.items() if open_networks & {*s["networks"]}}
    assert reaching_out == {*published, "blackbox"}


def neighbours(name: str) -> set[str]:
    """Return the services that can reach one."""
    networks = {*SERVICES[name]["networks"]}
    return {other for other, s in SERVICES.items() if networks & {*s["networks"]}} - {name}


def test_only_portico_reaches_its_servers() -> None:
    """The parts of SeaweedFS take gRPC of everybody; the others should not have to rely on their passwords."""
    assert neighbours("seaweedfs") == {*OURS}
    for server in ("postgres", "valkey", "mongo"):
        assert neighbours(server) <= {*OURS, "postgres", "valkey", "mongo"}


def test_the_documented_collector_is_reached_by_every_process_and_reaches_out() -> None:
    """Workers and beats reach no address outside, so it passes their spans on."""
    [block] = blocks("yaml", (ROOT / "docs" / "operations.md").read_text())
    [(name, collector)] = yaml.safe_load(block)["services"].items()
    networks = {*collector["networks"]}

    assert networks <= COMPOSE["networks"].keys()
    assert not all(COMPOSE["networks"][network].get("internal") for network in networks)
    for process in ("api", "worker", "beat"):
        assert networks & {*SERVICES[process]["networks"]}
        assert SERVICES[process]["environment"]["PORTICO_TRACES_URL"]
    assert f"PORTICO_TRACES_URL=http://{name}:4318" in (ROOT / "docs" / "operations.md").read_text()


def test_prometheus_scrapes_every_process_with_the_token_and_knows_the_alerts() -> None:
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    job, addresses = configuration["scrape_configs"]
    secret = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    ports = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}

    # Of a name, every container: there are two beats, and only one of them leads.
    assert {each["type"] for each in job["dns_sd_configs"]} == {"A"}
    assert ports == {"api": 8000, "worker": 9100, "beat": 9100}
    for name in ports:
        settings = SERVICES[name]["environment"]
        assert settings["PORTICO_METRICS_PORT"] == "9100"
        assert settings["PORTICO_METRICS_HOST"] == "0.0.0.0"  # noqa: S104 - of a container
        assert settings["PORTICO_METRICS_TOKEN_FILE"] == f"/run/secrets/{secret}"
        assert name in neighbours("prometheus")
    assert secret in SERVICES["prometheus"]["secrets"]
    (targets,) = addresses["file_sd_configs"][0]["files"]
    assert f"> {targets}\n" in SERVICES["prometheus"]["entrypoint"][-1]
    exporter, _, _ = addresses["relabel_configs"][-1]["replacement"].partition(":")
    assert exporter in neighbours("prometheus") & OBSERVERS
    assert [(MONITORING / file).is_file() for file in configuration["rule_files"]] == [True]


def test_grafana_has_the_dashboard_and_no_default_password() -> None:
    grafana = SERVICES["grafana"]
    mounts = {each["target"]: each for each in grafana["volumes"] if isinstance(each, dict)}
    provisioned = {
        target.split("/")[4]: yaml.safe_load((ROOT / each["source"]).read_text())
        for target, each in mounts.items()
        if target.startswith("/etc/grafana/provisioning/")
    }
    (source,) = provisioned["datasources"]["datasources"]
    (provider,) = provisioned["dashboards"]["providers"]

    assert urlsplit(source["url"]).hostname in neighbours("grafana") & OBSERVERS
    assert source["isDefault"] is True
    shown = mounts[f"{provider['options']['path']}/portico.json"]
    assert (ROOT / shown["source"]).samefile(MONITORING / "dashboard.json")
    password = grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert password.removeprefix("/run/secrets/") in grafana["secrets"]


def test_files_that_are_mounted_from_this_tree_exist_and_cannot_be_changed() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if isinstance(volume, dict):
                assert volume["read_only"] is True
                assert volume["bind"] == {"create_host_path": False}
                assert "secrets" in volume["source"] or (ROOT / volume["source"]).exists()


def test_every_process_runs_from_the_same_image() -> None:
    assert {service["command"][0] for service in OURS.values()} == {
        *("api", "worker", "beat", "migrate", "create-admin")
    }
    assert {service["image"] for service in OURS.values()} == {"${PORTICO_IMAGE:-portico}"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_a_service_exists_and_every_secret_is_a_file(name: str) -> None:
    service = OURS[name]
    settings = service["environment"]

    assert settings["ENVIRONMENT"] == "PRODUCTION"
    assert set(settings) - {*VARIABLES, *SECRET_FILES} == set()
    secret = {variable for variable in settings if SECRET_FILES.get(f"{variable}_FILE")}
    assert secret == {"PORTICO_S3_ACCESS_KEY"}  # a name that is the same everywhere
    files = {value for variable, value in settings.items() if variable in SECRET_FILES}
    assert files == {f"/run/secrets/{name}" for name in service["secrets"]}


def test_no_environment_of_a_service_has_a_secret() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert variable.endswith("_FILE") or not re.search(r"PASSWORD|SECRET|TOKEN", variable)
            assert "@" not in value


def mounted(service: Mapping[str, Any]) -> Iterator[str]:
    for secret in service.get("secrets", ()):
        yield secret if isinstance(secret, str) else secret["source"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of secrets; the keys in it take seconds."""
    directory = tmp_path_factory.mktemp("home") / "secrets"
    make_secrets(directory)
    return directory


def test_make_secrets_makes_every_file_that_is_mounted_and_no_other(directory: Path) -> None:
    named = {name: entry["file"] for name, entry in COMPOSE["secrets"].items()}

    assert named == {name: f"./secrets/{name}" for name in named}
    assert {name for service in SERVICES.values() for name in mounted(service)} == set(named)
    assert {file.name for file in directory.iterdir()} == {*named, "keys"}
    for service in OURS.values():
        assert service["volumes"][0]["source"] == "./secrets/keys"


def test_the_addresses_among_the_secrets_lead_to_the_services(directory: Path) -> None:
    for name in ("postgres_url", "redis_url", "mongo_url"):
        url = urlsplit((directory / name).read_text())
        assert "servers" in SERVICES[str(url.hostname)]["networks"]
        assert url.username == "portico"
        assert (url.password or "").isalnum()


def test_secrets_can_be_read_in_containers_but_on_the_host_by_their_owner_alone(
    directory: Path,
) -> None:
    """Containers have users of their own, and compose files cannot say whose a file is."""
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir() if file.is_file()} == {
        0o444
    }
    assert (directory / "keys").stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in (directory / "keys").iterdir()} == {0o444}


def test_secrets_are_never_overwritten(directory: Path, tmp_path: Path) -> None:
    """The data of the servers would be lost with the passwords."""
    before = {file: file.read_text() for file in directory.rglob("*") if file.is_file()}
    (tmp_path / "mine").touch()

    for taken in (directory, tmp_path):
        with pytest.raises(FileExistsError):
            make_secrets(taken)

    assert {file: file.read_text() for file in directory.rglob("*") if file.is_file()} == before
    assert [*tmp_path.iterdir()] == [tmp_path / "mine"]


def test_the_api_stops_before_it_is_killed() -> None:
    """The times of docs/operations.md add up to less than what the engine waits."""
    assert int(SERVICES["api"]["stop_grace_period"].removesuffix("s")) >= 45


def test_a_worker_hands_its_tasks_back_before_it_is_killed() -> None:
    worker = SERVICES["worker"]
    hands_back = int(worker["environment"]["PORTICO_WORKER_STOP"].removesuffix("s"))
    assert int(worker["stop_grace_period"].removesuffix("s")) >= hands_back + 10


def test_the_image_has_nothing_whose_hash_is_not_locked() -> None:
    """Not even what builds the wheel: pip would fetch that itself, unless it is there and not isolated."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", "")
    installed = re.findall(r"pip install ([^&\n]+)", text)
    builders = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert len(installed) == 3
    for options in installed:
        words = options.split()
        if "./source" in words:
            assert {"--no-deps", "--no-build-isolation"} <= {*words}
        else:
            assert "--require-hashes" in words
            assert (ROOT / words[-1]).is_file()
    assert builders["dependency-groups"]["build"] == builders["build-system"]["requires"]


def test_no_name_of_a_registry_is_committed() -> None:
    """Everybody has their own mirror."""
    images = re.findall(r"image: (.+)", (ROOT / "compose.yaml").read_text())
    base = re.findall(
        r"^ARG PYTHON_IMAGE=(.+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE
    )

    for image in (*images, *base):
        assert "." not in image.partition("/")[0].partition(":-")[2] or "/" not in image
