"""The generated configuration as text; what nginx makes of it is shown in tests/system/test_serving.py.

Run as a program, this file writes the configurations that the directory `nginx/` holds:
`python -m tests.unit.test_nginx_config`.
"""

import grp
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from staticwado_daemon.archive.routes import RESOURCES
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.web import accounts, ohif
from staticwado_daemon.web.accounts import Workers, membership_warning, workers, workers_warning
from staticwado_daemon.web.nginx import Form, Listen, exposure_warning, nginx_config, render
from tests.system.servers import beside_debians, free_port

SHIPPED = Path(__file__).parents[2] / "nginx"
LOOPBACK = "127.0.0.1:8080"
TREE, VIEWER = Path("/var/lib/staticwado"), Path("/usr/share/staticwado/ohif")


def as_shipped() -> str:
    owner = Workers("staticwado", "staticwado")
    return render(TREE, LOOPBACK, VIEWER, owner)


def site_as_shipped() -> str:
    return render(TREE, LOOPBACK, VIEWER, Workers("www-data", "staticwado", own_it=False), form="site")


AS_SHIPPED = {"staticwado.conf": as_shipped, "staticwado-site.conf": site_as_shipped}


def directives(configuration: str) -> str:
    return re.sub(r"(?m)^\s*#.*$|  # .*$", "", configuration)


@pytest.mark.parametrize("name", AS_SHIPPED)
def test_a_shipped_configuration_is_current(name: str) -> None:
    assert (SHIPPED / name).read_text(encoding="utf-8") == AS_SHIPPED[name](), (
        "make it again: python -m tests.unit.test_nginx_config"
    )


def test_nothing_else_is_shipped() -> None:
    assert {path.name for path in SHIPPED.iterdir()} == set(AS_SHIPPED)


def test_the_site_is_what_the_whole_configuration_has_in_http() -> None:
    whole = directives(as_shipped()).partition("map $request_uri")[2].removesuffix("}\n").replace("\n  ", "\n")
    site = directives(site_as_shipped()).partition("map $request_uri")[2]
    app_config = re.compile('return 200 "[^"]*"')  # a text of many lines, which the replacement above has changed
    assert app_config.sub("", site.replace("/var/log/nginx/staticwado-", "")) == app_config.sub("", whole)
    assert site.count(ohif.APP_CONFIG) == 1


def test_the_site_says_who_is_to_read_the_tree() -> None:
    assert "\n#   usermod -aG staticwado www-data\n" in site_as_shipped()
    for unknown in (None, Workers("www-data", "root", own_it=False)):
        assert "\n#   usermod -aG GROUP www-data\n" in render(TREE, LOOPBACK, None, unknown, form="site")
    assert not re.search("(?m)^(user|pid|events|http|worker_processes)\\b", site_as_shipped())


def test_every_row_of_the_table_has_its_location() -> None:
    locations = re.findall(r'(?m)^      # (.*)\n      location ~ "(.*)" \{$', as_shipped())
    assert locations == [(row.name, row.pattern) for row in RESOURCES]


def test_nothing_delays_a_new_file() -> None:
    assert "open_file_cache" not in directives(as_shipped())


def test_logs_have_no_query() -> None:
    log = re.search(r"log_format (\w+) ([^;]*);", as_shipped())
    assert log
    assert not {"$request", "$request_uri", "$args", "$query_string", "$http_referer"} & set(
        log[2].replace("'", "").split()
    )
    assert f"access_log access.log {log[1]} " in as_shipped()
    assert "error_log error.log crit;" in as_shipped()


def test_pages_of_other_hosts_are_let_in_by_name_only() -> None:
    assert "Access-Control" not in directives(as_shipped())
    assert 'Cross-Origin-Resource-Policy "same-origin" always' in as_shipped()
    shared = nginx_config(Path("/tree"), LOOPBACK, allow_origin="https://viewer.example")
    assert 'set $access_control_allow_origin "https://viewer.example";' in shared
    assert 'set $cross_origin_resource_policy "same-origin";' in shared, "outside the tree"
    assert 'set $cross_origin_resource_policy "cross-origin";' in shared
    with pytest.raises(ConfigError, match="isn't an origin"):
        nginx_config(Path("/tree"), LOOPBACK, allow_origin="viewer.example")


def test_it_needs_no_other_file() -> None:
    assert not re.search(r"\b(include|load_module)\b", directives(as_shipped()))


@pytest.mark.parametrize("viewer", [None, Path("/srv/ohif")])
def test_the_viewer_configuration_is_always_ours(viewer: Path | None) -> None:
    text = render(Path("/tree"), LOOPBACK, viewer, None)
    assert text.count(ohif.APP_CONFIG) == 1
    assert "location = /app-config.js {" in text
    # nginx has no way to write these in a text, and reads no word of more than 4096 bytes
    assert not set(ohif.APP_CONFIG) & set('$"\\')
    assert len(ohif.APP_CONFIG) < 4000
    assert ohif.APP_CONFIG.isascii()


def test_without_a_viewer_there_is_no_other_root_than_the_tree() -> None:
    assert re.findall(r"\broot (.*);", directives(render(Path("/tree"), LOOPBACK, None, None))) == ['"/tree"']


def test_root_names_the_owner_of_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = f"{tmp_path.owner()} {tmp_path.group()}"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert f"\nuser {owner};\n" in nginx_config(tmp_path, LOOPBACK)
    assert f"\nuser {owner};\n" in nginx_config(tmp_path / "not" / "there" / "yet", LOOPBACK)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "\nuser " not in nginx_config(tmp_path, LOOPBACK)


def test_an_owner_without_a_name_cannot_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert workers(tmp_path) is None


def _whole(*, system: bool) -> Form:
    return "system" if system else "prefix"


def _accounts(monkeypatch: pytest.MonkeyPatch, *, owner: str, web: str | None) -> None:
    """Let this process's user and its group be called `owner`, and only the account `web` exist for web servers."""

    def by_name(name: str) -> pwd.struct_passwd:
        if name != web:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 33, 33, "", "/", ""))

    own_group = os.getegid()
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd((owner, "x", uid, own_group, "", "/", "")))
    monkeypatch.setattr(pwd, "getpwnam", by_name)
    monkeypatch.setattr(
        accounts, "getgrgid", lambda gid: grp.struct_group((owner if gid == own_group else "other", "x", gid, []))
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize(
    ("web", "group", "system", "user"),
    [
        ("www-data", None, False, "keeper keeper"),
        ("www-data", "keeper", False, "keeper keeper"),
        ("www-data", "readers", False, "www-data readers"),
        ("nginx", "readers", False, "nginx readers"),
        (None, "readers", False, "keeper readers"),
        ("www-data", None, True, "www-data keeper"),
        ("www-data", "readers", True, "www-data readers"),
        (None, None, True, "keeper keeper"),
    ],
)
def test_the_workers_own_the_tree_only_where_its_group_would_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: str | None, group: str | None, system: bool, user: str
) -> None:
    os.chown(tmp_path, -1, os.getegid())
    _accounts(monkeypatch, owner="keeper", web=web)
    text = nginx_config(tmp_path, LOOPBACK, group=group, form=_whole(system=system))
    assert re.findall(r"(?m)^user (.*);$", text) == [user]
    assert ("# The owner of the tree" in text) == user.startswith("keeper ")
    assert ("# The workers read the tree through its group" in text) != user.startswith("keeper ")
    assert workers_warning(tmp_path, group, system=system) is None


@pytest.mark.parametrize("system", [False, True])
def test_a_tree_of_root_is_warned_of_until_it_has_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: bool
) -> None:
    os.chown(tmp_path, -1, os.getegid())
    _accounts(monkeypatch, owner="root", web="www-data")
    rights = "be in the group root" if system else "run as root"
    for tree in (tmp_path, tmp_path / "not there yet"):
        warning = workers_warning(tree, system=system)
        assert warning
        assert f"nginx's workers will {rights}" in warning
        assert ("isn't there yet" in warning) == (tree != tmp_path)
        assert "staticWadoConfig.group" in warning
        assert ("# The owner of the tree" in nginx_config(tree, LOOPBACK, form=_whole(system=system))) != system
    assert "run as root for it" in nginx_config(tmp_path, LOOPBACK)
    assert workers_warning(tmp_path, "readers", system=system) is None
    assert "\nuser www-data readers;\n" in nginx_config(tmp_path, LOOPBACK, group="readers", form=_whole(system=system))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (workers_warning(tmp_path, system=system) is None) != system, "without root nginx can't change its user"


def test_the_command_warns_and_obeys_the_configured_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _accounts(monkeypatch, owner="root", web="www-data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    os.chown(tmp_path, -1, os.getegid())
    assert execute(staticwado, "staticwado", ["nginx-config", "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "\nuser root root;\n" in printed.out
    assert printed.err.startswith("warning: nginx's workers will run as root")
    (tmp_path / "static-wado.json5").write_text('{staticWadoConfig: {rootDir: ".", group: "readers"}}')
    assert execute(staticwado, "staticwado", ["nginx-config", "--system"]) == 0
    printed = capsys.readouterr()
    assert "\nuser www-data readers;\n" in printed.out
    assert "\npid /run/nginx.pid;\n" in printed.out
    assert printed.err == ""


def test_the_site_is_of_no_use_to_workers_outside_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, -1, os.getegid())
    _accounts(monkeypatch, owner="keeper", web="www-data")
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [33])
    assert membership_warning(tmp_path) == (
        "www-data isn't in the tree's group and can't read it: usermod -aG keeper www-data"
    )
    assert "usermod -aG readers www-data" in str(membership_warning(tmp_path, "readers"))
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [33, os.getegid()])
    assert membership_warning(tmp_path) is None
    _accounts(monkeypatch, owner="root", web="www-data")
    assert membership_warning(tmp_path) is None, "nobody is to join root's group"
    assert workers_warning(tmp_path, system=True)


def test_one_form_at_a_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert execute(staticwado, "staticwado", ["nginx-config", "--system", "--site", "-o", str(tmp_path)]) == 2
    assert "say one of them" in capsys.readouterr().err
    execute(staticwado, "staticwado", ["nginx-config", "--site", "-o", str(tmp_path)])
    printed = capsys.readouterr()
    assert "\n#   usermod -aG " in printed.out
    assert "\nserver {\n" in printed.out


def test_the_nginx_of_the_distribution_keeps_its_places() -> None:
    text = render(Path("/tree"), LOOPBACK, None, Workers("www-data", "readers", own_it=False), form="system")
    assert "\nuser www-data readers;\n" in text
    assert "\npid /run/nginx.pid;\n" in text
    assert "\nerror_log /var/log/nginx/error.log crit;\n" in text
    assert "\n    access_log /var/log/nginx/access.log without_query " in text
    assert "_temp_path" not in directives(text)
    assert "PREFIX" not in text
    plain = render(Path("/tree"), LOOPBACK, None, None)
    assert directives(plain).partition("map $request_uri")[2] == directives(text).partition("map $request_uri")[
        2
    ].replace("/var/log/nginx/", ""), "nothing else differs"


@pytest.mark.parametrize("form", ["prefix", "system", "site"])
def test_nginx_takes_the_configuration(tmp_path: Path, form: Form) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program, "nginx is missing: apt-get install nginx"
    # The address may be taken, and nginx tries it.
    text = nginx_config(tmp_path, f"127.0.0.1:{free_port()}", form=form)
    if form == "site":
        text = beside_debians(text, tmp_path)
    # The distribution's places are moved below our own: this mustn't touch an nginx that is at work here.
    text = text.replace("/run/nginx.pid", f"{tmp_path}/nginx.pid").replace("/var/log/nginx/", f"{tmp_path}/")
    kinds = () if form != "system" else ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace("http {\n", "http {\n" + "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds))
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [program, "-t", "-p", tmp_path, "-c", configuration], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ("staticwado-access.log" if form == "site" else "access.log")).exists()


def test_paths_are_absolute_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f'root "{tmp_path}/a tree\\"s; name";' in render(Path('a tree"s; name'), LOOPBACK, None, None)


@pytest.mark.parametrize("name", ["a$b", "a\nb"])
def test_a_path_that_nginx_cannot_write_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="nginx can't serve"):
        render(Path("/", name), LOOPBACK, None, None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:80", "localhost", 80),
        ("[::1]:8080", "::1", 8080),
        ("pacs-1.example.org:443", "pacs-1.example.org", 443),
        ("*:80", "*", 80),
        (":80", "*", 80),
        ("80", "*", 80),
    ],
)
def test_listen(text: str, host: str, port: int) -> None:
    listen = Listen.parse(text)
    assert (listen.host, listen.port) == (host, port)
    assert Listen.parse(str(listen)) == listen
    assert f"\n    listen {listen};\n" in render(Path("/tree"), text, None, None)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.0.0.1:", "::1:80", "127.0.0.1:0", "h:65536", "h:80; evil", "a b:80"]
)
def test_listen_on_nonsense_is_an_error_that_says_what_to_say(text: str) -> None:
    with pytest.raises(ConfigError, match="say HOST:PORT, such as"):
        render(Path("/tree"), text, None, None)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "127.8.9.10:80", "localhost:80", "[::1]:80"])
def test_no_warning_where_only_this_machine_reaches_it(text: str) -> None:
    assert exposure_warning(text) is None


@pytest.mark.parametrize("text", ["0.0.0.0:80", "80", "*:80", "[::]:80", "192.168.1.2:80", "pacs:80"])
def test_a_warning_where_others_reach_it(text: str) -> None:
    warning = exposure_warning(text)
    assert warning
    assert text in warning


if __name__ == "__main__":
    for name, text in AS_SHIPPED.items():
        (SHIPPED / name).write_text(text(), encoding="utf-8")
