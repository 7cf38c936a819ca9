"""Configuration: the file's errors, whose value counts, and what becomes of static-wado's own settings."""

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.config import (
    Configuration,
    Images,
    InboundFolder,
    Node,
    Pull,
    Tls,
    daemon_errors,
    document,
    find,
    load,
    missing_folders,
    scp_errors,
    storage_errors,
)
from staticwado_daemon.config import check as checks
from staticwado_daemon.config.reference import UNUSED
from staticwado_daemon.config.schema import SECTIONS, keys
from staticwado_daemon.dicom import codings
from staticwado_daemon.dicom.content_types import ContentType
from staticwado_daemon.errors import ConfigError

ALTERNATE_NAME = (
    "staticWadoConfig.alternateName must be letters, digits, - and _ in quotes, and no name of the tree's own, "
    'not "frames"'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "static-wado.json5"


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")


@contextmanager
def _as_somebody_else() -> Iterator[None]:
    """Be a user who may not look into the folders of these tests."""
    assert os.geteuid() == 0, "only root can become somebody else; run this test as root"
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def _errors(file: Path, text: str) -> list[str]:
    file.write_text(text)
    return [sentence.removeprefix(f"{file}:") for sentence in checks.errors(document.read(file))]


def _load(file: Path, text: str, **options: object) -> Configuration:
    file.write_text(text)
    return load(file, options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{staticWadoConfig: {rotDir: '/x'}}", "1: staticWadoConfig.rotDir isn't a setting; did you mean rootDir?"),
        ("{\n\n  demonConfig: {}}", "3: demonConfig isn't a section; did you mean daemonConfig?"),
        ("{staticWadoConfig: {workers: 2}}", "1: staticWadoConfig.workers isn't a setting; it belongs in daemonConfig"),
        (
            "{staticWadoConfig: {port: 104}}",
            "1: staticWadoConfig.port isn't a setting; it belongs in dicomWebServerConfig or dicomWebScpConfig",
        ),
        ("{daemonConfig: {group: 'x'}}", "1: daemonConfig.group isn't a setting; it belongs in staticWadoConfig"),
        ("{staticWadoConfig: {rootDir: 5}}", "1: staticWadoConfig.rootDir must be text in quotes, not 5"),
        ("{staticWadoConfig: {rootDir: ''}}", "1: staticWadoConfig.rootDir must be text in quotes, not empty text"),
        ("{staticWadoConfig: []}", "1: staticWadoConfig must be an object {…}, not a list […]"),
        (
            "{staticWadoConfig: {\n alternate: 'gif'}}",
            '2: staticWadoConfig.alternate must be one of "jhc", "jhcLossless", "jls", "jlsLossless", not "gif"',
        ),
        ("{staticWadoConfig: {thumb: 1}}", "1: staticWadoConfig.thumb must be true or false, not 1"),
        (
            "{staticWadoConfig: {alternateName: 'frames'}}",
            "1: " + ALTERNATE_NAME,
        ),
        ("{daemonConfig: {workers: 0}}", "1: daemonConfig.workers must be a whole number from 1 to 1024, not 0"),
        ("{daemonConfig: {workers: 1.5}}", "1: daemonConfig.workers must be a whole number from 1 to 1024, not 1.5"),
        ("{daemonConfig: {workers: true}}", "1: daemonConfig.workers must be a whole number from 1 to 1024, not true"),
        (
            "{daemonConfig: {settleSeconds: Infinity}}",
            "1: daemonConfig.settleSeconds must be a number from 0 to 604800, not inf",
        ),
        ("{daemonConfig: {inbound: {dir: 'x'}}}", "1: daemonConfig.inbound must be a list […], not an object {…}"),
        ("{daemonConfig: {inbound: [\n{afterIngest: 'keep'}]}}", "2: daemonConfig.inbound[0] lacks dir"),
        (
            "{daemonConfig: {inbound: [{dir: 'a'},\n // another\n {dir: 'b', after: 'keep'}]}}",
            "3: daemonConfig.inbound[1].after isn't a setting; did you mean afterIngest?",
        ),
        (
            "{daemonConfig: {serve: {port: 70000}}}",
            "1: daemonConfig.serve.port must be a whole number from 1 to 65535, not 70000",
        ),
        (
            "{daemonConfig: {serve: {quux: 1}}}",
            "1: daemonConfig.serve.quux isn't a setting; known here: host, port, ohif, allowOrigin",
        ),
        (
            "{aeConfig: {PACS: {\nhost: 'h', port: 1, prot: 104}}}",
            "2: aeConfig.PACS.prot isn't a setting; did you mean port?",
        ),
        ("{aeConfig: {\nPACS: 'h:104'}}", '2: aeConfig.PACS must be an object {…}, not "h:104"'),
        ("{aeConfig: []}", "1: aeConfig must be an object {…}, not a list […]"),
        ("{aeConfgi: {}}", "1: aeConfgi isn't a section; did you mean aeConfig?"),
        (
            "{dicomWebScpConfig: {pull: [{ae: 'P', filter: {PatientID: 5}}]}}",
            "1: dicomWebScpConfig.pull[0].filter must be an object {…}, each value text in quotes, not an object {…}",
        ),
        ("{dicomWebScpConfig: {\ntls: {key: 'k'}}}", "2: dicomWebScpConfig.tls lacks certificate"),
    ],
)
def test_an_error_names_file_line_key_and_the_way_out(file: Path, text: str, sentence: str) -> None:
    assert _errors(file, text) == [sentence]


def test_load_raises_the_first_problem_and_counts_the_others(file: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(file, "{staticWadoConfig: {rotDir: 1, groop: 2}, x: 3}")
    assert str(raised.value).startswith(f"{file}:1: staticWadoConfig.rotDir")
    assert "(and 2 more: see `staticwado config check`)" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a: 1\n b: 2}", "isn't JSON5: line 2 Unexpected"),
        ("", "isn't JSON5"),
        ("[1]", "must hold one object"),
        ("{staticWadoConfig: {\n rootDir: 'a',\n 'rootDir': 'b'}}", ":3: staticWadoConfig.rootDir appears twice"),
        ("{a:" * 5000, "isn't JSON5"),
    ],
)
def test_text_that_is_no_configuration(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)) as raised:
        load(file)
    assert str(file) in str(raised.value)


def test_bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"{a: '\xff'}")
    with pytest.raises(ConfigError, match="isn't UTF-8 text"):
        load(file)


def test_a_given_file_must_exist(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read the configuration .*static-wado\.json5: No such file"):
        load(file)


def test_lines_are_found_behind_comments_strings_and_brackets(file: Path) -> None:
    file.write_text(
        "// {staticWadoConfig: {rootDir: 1}}\n"
        "/* { \n */ {\n"
        "'staticWadoConfig': {rootDir: 'a } , { // b', /* , */\n"
        '  "contentType": "jls"},\n'
        "daemonConfig: {inbound: [{dir: 'in\\'side'}, // ]\n"
        "  {dir: 'x'}]}}"
    )
    lines = document.read(file).lines
    assert lines["staticWadoConfig", "rootDir"] == 4
    assert lines["staticWadoConfig", "contentType"] == 5
    assert lines["daemonConfig", "inbound", 0, "dir"] == 6
    assert lines["daemonConfig", "inbound", 1] == 7


def test_command_line_beats_section_beats_base_beats_default(file: Path) -> None:
    configuration = _load(
        file,
        "{staticWadoConfig: {rootDir: '/base',\n contentType: 'jls'},\n mkdicomwebConfig: {contentType: 'none'}}",
        rootDir="/typed",
        group=None,
    )
    effective = configuration.effective("mkdicomwebConfig")
    assert (effective["rootDir"].value, effective["rootDir"].origin) == ("/typed", "command line")
    assert (effective["contentType"].value, effective["contentType"].origin) == ("none", f"{file}:3")
    assert (effective["group"].value, effective["group"].origin) == (None, "default")
    assert configuration.effective("staticWadoConfig")["contentType"].origin == f"{file}:2"
    assert load(file).effective("dicomWebServerConfig")["rootDir"].value == "/base"


def test_paths_start_at_the_file_or_at_home(file: Path, tmp_path: Path) -> None:
    configuration = _load(
        file,
        "{staticWadoConfig: {rootDir: '~/tree'}, daemonConfig: {inbound: [{dir: '../in'}], serve: {ohif: 'ohif'}}}",
    )
    daemon = configuration.daemon()
    assert daemon.storage.root == tmp_path / "home/tree"
    assert daemon.inbound == (InboundFolder(tmp_path.parent / "in", "keep"),)
    assert daemon.server
    assert daemon.server.ohif == tmp_path / "ohif"
    assert daemon.storage.state_dir == tmp_path / "home/tree/.staticwado"


def test_each_server_has_its_own_friends(file: Path) -> None:
    text = "{dicomWebServerConfig: {allowOrigin: '*'}, daemonConfig: {serve: {allowOrigin: 'https://viewer.example'}}}"
    configuration = _load(file, text)
    assert configuration.server().allow_origin == "*"
    daemon = configuration.daemon()
    assert daemon.server
    assert daemon.server.allow_origin == "https://viewer.example"


def test_an_unknown_home_is_an_error(file: Path) -> None:
    with pytest.raises(ConfigError, match="no such home"):
        _load(file, "{staticWadoConfig: {rootDir: '~nobody-of-this-name/x'}}").storage()


def test_defaults_without_a_file(tmp_path: Path) -> None:
    configuration = load()
    assert configuration.document is None
    daemon = configuration.daemon()
    assert daemon.storage.root == tmp_path / "home/dicomweb"
    assert daemon.storage.images == Images(
        content_type="htj2k",
        color_content_type=None,
        recompress=("uncompressed",),
        recompress_color=("uncompressed",),
        by_name=False,
        alternate=None,
        alternate_name="lossy",
        alternate_thumbnail=False,
        thumb=True,
        rendered=False,
    )
    assert (daemon.storage.maximum_inline_public_length, daemon.storage.maximum_inline_private_length) == (131074, 64)
    assert daemon.storage.workers == len(os.sched_getaffinity(0))
    assert daemon.server is None
    assert configuration.server().port == 5000
    assert configuration.server().allow_origin is None


def test_the_nearest_file_is_found(tmp_path: Path) -> None:
    assert find(None) is None or find(None) == Path("/etc/static-wado.json5")
    (tmp_path / "home/static-wado.json5").write_text("{}")
    assert find(None) == tmp_path / "home/static-wado.json5"
    (tmp_path / "cwd/static-wado.json5").write_text("{}")
    assert find(None) == tmp_path / "cwd/static-wado.json5"
    assert find(Path("other.json5")) == tmp_path / "cwd/other.json5"


def test_where_nobody_may_look_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = find(None)
    for place in ("home", "cwd"):
        (tmp_path / place / "static-wado.json5").write_text("{}")
    with _as_somebody_else():
        assert find(None) == elsewhere
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert find(None) == tmp_path / "home/static-wado.json5"
    assert load().storage().root == tmp_path / "home/dicomweb"


def test_who_has_no_home_has_no_file_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", without_home)
    assert find(None) in (None, Path("/etc/static-wado.json5"))
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    with pytest.raises(ConfigError, match="~/dicomweb: there is no such home directory"):
        load().storage()
    named = load(options={"rootDir": str(tmp_path)})
    assert named.storage().state_dir == named.scp().state_dir == tmp_path / ".staticwado"


def test_another_root_does_not_use_the_configured_journal(file: Path) -> None:
    text = "{staticWadoConfig: {rootDir: '/one'}, daemonConfig: {stateDir: '/state'}}"
    assert _load(file, text).storage().state_dir == Path("/state")
    assert _load(file, text, rootDir="/two").storage().state_dir == Path("/two/.staticwado")


def test_settings_of_static_wado_are_named_as_unused(file: Path) -> None:
    file.write_text("{staticWadoConfig: {\n recompressThumb: ['jp2']},\n awsConfig: {region: 'x'}}")
    source = document.read(file)
    assert list(checks.errors(source)) == []
    assert [sentence.removeprefix(f"{file}:").split(":")[0] for sentence in checks.warnings(source)] == ["2", "3"]
    assert all("isn't used by staticwado" in sentence for sentence in checks.warnings(source))


STATIC_WADOS = """{
    staticWadoConfig: {staticWadoAe: 'DICOMWEB'},
    dicomWebScpConfig: {isInstance: false, isGroup: true, isDeduplicate: true, isStudyData: true,
        maximumInlinePublicLength: 131074, maximumInlinePrivateLength: 64},
    aeConfig: {
        DICOMWEB: {description: 'A name for the DICOMweb SCP', host: 'localhost', port: 11112},
        dcmqrscp: {description: 'A test SCP', host: 'localhost', port: 11113},
        AE_PROXY_NAME: {description: 'A proxy', host: 'localhost', port: 11114},
    },
}"""


def test_static_wados_own_network_settings_load(file: Path) -> None:
    configuration = _load(file, STATIC_WADOS)
    assert configuration.peers()["dcmqrscp"] == Node("A test SCP", "localhost", 11113, tls=False)
    assert list(configuration.peers()) == ["DICOMWEB", "dcmqrscp", "AE_PROXY_NAME"]
    unused = list(checks.warnings(document.read(file)))
    assert len(unused) == 7
    named = [re.search(r": \w+\.(\w+) isn't used", each) for each in unused]
    assert [each and each[1] for each in named][1:5] == ["isInstance", "isGroup", "isDeduplicate", "isStudyData"]
    assert any("staticWadoAe isn't used by staticwado: say dicomWebScpConfig.aeTitle" in each for each in unused)


def test_the_node_by_default_is_for_this_machine_alone(tmp_path: Path) -> None:
    scp = load().scp()
    root = tmp_path / "home/dicomweb"
    assert (scp.host, scp.port, scp.ae_title, scp.tls) == ("127.0.0.1", 11112, "STATICWADO", None)
    assert (scp.root, scp.state_dir, scp.drop_dir) == (root, root / ".staticwado", root / ".staticwado/drop")
    assert (scp.called_ae_titles, scp.calling_ae_titles, scp.peers, scp.pull) == ((), (), (), ())
    assert list(scp_errors(scp)) == []
    assert load().peers() == {}


def test_daemon_and_node_have_the_same_drop_folder(file: Path) -> None:
    for text in (
        "{staticWadoConfig: {rootDir: '/r'}}",
        "{staticWadoConfig: {rootDir: '/r'}, daemonConfig: {dropDir: null}}",
    ):
        configuration = _load(file, text)
        assert configuration.daemon().drop_dir == configuration.scp().drop_dir == Path("/r/.staticwado/drop")
        elsewhere = _load(file, text, rootDir="/two")
        assert elsewhere.daemon().drop_dir == elsewhere.scp().drop_dir == Path("/two/.staticwado/drop")
    configuration = _load(file, "{staticWadoConfig: {rootDir: '/r'}, daemonConfig: {dropDir: '/d'}}")
    assert configuration.daemon().drop_dir == configuration.scp().drop_dir == Path("/d")


def test_a_node_of_another_tree_is_that_trees(file: Path) -> None:
    text = """{staticWadoConfig: {rootDir: '/r'}, daemonConfig: {dropDir: '/d', stateDir: '/s'},
        dicomWebScpConfig: {rootDir: '/other'}}"""
    scp = _load(file, text).scp()
    places = (scp.root, scp.state_dir, scp.drop_dir)
    assert places == (Path("/other"), Path("/other/.staticwado"), Path("/other/.staticwado/drop"))


def test_the_node_as_it_is_written(file: Path) -> None:
    text = """{
        dicomWebScpConfig: {host: '::', port: 104, aeTitle: 'MY ARCHIVE', callingAeTitles: ['CT1'],
            tls: {certificate: 'tls.crt', key: '/etc/tls.key', authorities: 'ca.crt', requireClientCertificate: true},
            pull: [{ae: 'PACS', filter: {ModalitiesInStudy: 'CT'}}]},
        aeConfig: {PACS: {host: '10.1.2.3', port: 104, tls: true}},
    }"""
    configuration = _load(file, text, port=1104)
    scp = configuration.scp()
    assert (scp.host, scp.port, scp.ae_title) == ("::", 1104, "MY ARCHIVE")
    assert scp.tls == Tls(file.parent / "tls.crt", Path("/etc/tls.key"), file.parent / "ca.crt", True)
    assert scp.pull == (Pull("PACS", 300.0, {"ModalitiesInStudy": "CT"}),)
    assert configuration.peers()["PACS"].tls
    assert configuration.effective("aeConfig")["PACS"].origin == f"{file}:5"
    assert list(scp_errors(scp)) == []


def test_a_daemon_may_have_nothing_but_the_node_to_wait_for(file: Path) -> None:
    assert list(daemon_errors(_load(file, "{dicomWebScpConfig: {port: 104}}").daemon())) == []
    assert list(daemon_errors(_load(file, "{daemonConfig: {dropDir: 'd'}}").daemon())) == []


@pytest.mark.parametrize("title", ["", "ABCDEFGHIJKLMNOPQ", "A\\\\B", " A", "A ", "\u00c4RZTE", "A\\tB", "   "])
def test_what_is_no_ae_title(file: Path, title: str) -> None:
    assert len(_errors(file, f'{{aeConfig: {{"{title}": {{host: "h", port: 1}}}}}}')) == 1
    assert "must be an AE title" in _errors(file, f'{{dicomWebScpConfig: {{aeTitle: "{title}"}}}}')[0]
    assert "each an AE title" in _errors(file, f'{{dicomWebScpConfig: {{callingAeTitles: ["{title}"]}}}}')[0]


@pytest.mark.parametrize("title", ["A", "ABCDEFGHIJKLMNOP", "my archive", "CT_1-2.3/X", "A[B]"])
def test_ae_titles(file: Path, title: str) -> None:
    assert (
        _errors(file, f'{{aeConfig: {{"{title}": {{host: "h", port: 1}}}}, dicomWebScpConfig: {{aeTitle: "{title}"}}}}')
        == []
    )


def test_a_setting_that_would_move_the_studies_is_refused(file: Path) -> None:
    assert _errors(file, "{mkdicomwebConfig: {hashStudyUidPath: false}}") == []
    assert "hashStudyUidPath" in _errors(file, "{mkdicomwebConfig: {hashStudyUidPath: true}}")[0]


def test_no_setting_is_both_used_and_unused() -> None:
    for section, group in SECTIONS.items():
        unused = UNUSED.get(section, {})
        assert isinstance(unused, dict)
        assert not unused.keys() & {key.name for key in keys(group)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "nothing to watch"),
        ("{staticWadoConfig: {rootDir: 'in/tree'}, daemonConfig: {inbound: [{dir: 'in'}]}}", "contain one another"),
        ("{staticWadoConfig: {rootDir: '.'}, daemonConfig: {inbound: [{dir: 'in'}]}}", "contain one another"),
        ("{daemonConfig: {inbound: [{dir: 'in'}, {dir: './in'}]}}", "the same folder"),
        ("{daemonConfig: {inbound: [{dir: 'in'}], dropDir: 'in'}}", "the same folder"),
        ("{daemonConfig: {inbound: [{dir: 'in'}], serve: {ohif: 'in'}}}", "no index.html"),
        ("{staticWadoConfig: {rootDir: 'file/tree'}, daemonConfig: {inbound: [{dir: 'in'}]}}", "file isn't a folder"),
        ("{daemonConfig: {inbound: [{dir: 'in'}], dropDir: 'file'}}", "daemonConfig.dropDir: "),
        ("{daemonConfig: {inbound: [{dir: 'in'}], stateDir: 'file/state'}}", "daemonConfig.stateDir: "),
        ("{staticWadoConfig: {group: 'nobodys'}, daemonConfig: {inbound: [{dir: 'in'}]}}", "no group 'nobodys'"),
    ],
)
def test_folders_that_cannot_be_used(file: Path, text: str, words: str) -> None:
    (file.parent / "in").mkdir()
    (file.parent / "file").touch()
    problems = list(daemon_errors(_load(file, text).daemon()))
    assert len(problems) == 1
    assert words in problems[0]


def test_what_was_received_is_taken_even_if_nothing_is_configured(file: Path) -> None:
    daemon = _load(file, "{staticWadoConfig: {rootDir: 'tree'}}").daemon()
    assert len(list(daemon_errors(daemon))) == 1
    daemon.drop_dir.mkdir(parents=True)
    assert list(daemon_errors(daemon)) == []


def test_folders_of_others_are_not_ours(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = _load(file, "{staticWadoConfig: {rootDir: 'new/tree'}}")
    assert list(storage_errors(configuration.storage())) == []
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nobody refuses
    user = pwd.getpwuid(os.geteuid()).pw_name
    (problem,) = storage_errors(configuration.storage())
    assert problem == (
        f"rootDir: {file.parent}/new/tree is missing, and {user} may not create it in {file.parent}: "
        f"`install -d -o {user} -m 750 {file.parent}/new/tree`"
    )
    (file.parent / "new/tree").mkdir(parents=True)
    (problem,) = storage_errors(configuration.storage())
    assert problem == (
        f"rootDir: {user} may not write to {file.parent}/new/tree: `chown {user} {file.parent}/new/tree`, "
        "or correct the path"
    )


def test_a_user_without_a_name_has_a_number(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    (problem,) = storage_errors(_load(file, "{staticWadoConfig: {rootDir: 'a b'}}").storage())
    assert problem.endswith(f"`install -d -o 3999999999 -m 750 '{file.parent}/a b'`")


def test_an_inbound_folder_may_come_later(file: Path) -> None:
    settings = _load(file, "{daemonConfig: {inbound: [{dir: 'in'}, {dir: 'absent'}]}}").daemon()
    (file.parent / "in").mkdir()
    assert list(daemon_errors(settings)) == []
    assert list(missing_folders(settings)) == [
        f"daemonConfig.inbound[1].dir: {file.parent}/absent isn't a folder: create it or correct the path"
    ]


def test_what_cannot_be_looked_at_is_named_with_the_rest(file: Path) -> None:
    text = """{staticWadoConfig: {rootDir: 'tree'}, dicomWebScpConfig: {port: 104},
        daemonConfig: {inbound: [{dir: 'in'}], serve: {ohif: 'ohif'}}}"""
    settings, nothing = _load(file, text).daemon(), _load(file, "{staticWadoConfig: {rootDir: 'tree'}}").daemon()
    (file.parent / "in").mkdir()
    user = pwd.getpwuid(65534).pw_name
    with _as_somebody_else():
        problems, missing = list(daemon_errors(settings)), list(missing_folders(settings))
        unwatched = [each for each in daemon_errors(nothing) if each.startswith("nothing to watch")]
    assert any(each.startswith(f"daemonConfig.serve.ohif: {file.parent}/ohif holds no index.html") for each in problems)
    (problem,) = missing
    assert problem == (
        f"daemonConfig.inbound[0].dir: {user} may not enter the folders above {file.parent}/in: let it, "
        "or correct the path"
    )
    assert len(unwatched) == 1


def test_folders_that_can(file: Path) -> None:
    (file.parent / "in/urgent").mkdir(parents=True)
    text = (
        "{staticWadoConfig: {rootDir: 'tree'}, daemonConfig: {inbound: [{dir: 'in'}, {dir: 'in/urgent'}],"
        " dropDir: 'tree/.staticwado/drop'}}"
    )
    assert list(daemon_errors(_load(file, text).daemon())) == []


def test_what_images_become_is_read_from_the_nearest_section(file: Path) -> None:
    text = """{
        staticWadoConfig: {contentType: 'jls', recompress: ['uncompressed', 'rle'], alternate: 'jls'},
        mkdicomwebConfig: {colorContentType: 'jpeg', thumb: false, recompress: ['none']},
    }"""
    images = _load(file, text).storage("mkdicomwebConfig").images
    assert (images.content_type, images.color_content_type, images.by_name) == ("jls", "jpeg", True)
    assert (images.recompress, images.recompress_color) == (("none",), ("uncompressed",))
    assert (images.alternate, images.alternate_name, images.thumb) == ("jls", "lossy", False)
    assert _load(file, text).storage().images.recompress == ("uncompressed", "rle")


def test_a_list_is_checked_item_by_item(file: Path) -> None:
    assert "each one of" in _errors(file, "{staticWadoConfig: {recompress: ['uncompressed', 'gif']}}")[0]
    assert "a list" in _errors(file, "{staticWadoConfig: {recompress: 'jp2'}}")[0]


def test_every_content_type_is_a_coding_or_native() -> None:
    assert {each for each in get_args(ContentType) if codings.coding(each) is None} == {
        "none",
        "lei",
        "1.2.840.10008.1.2.1",
    }


def test_alternates_get_no_name_that_means_something_else(file: Path) -> None:
    for name in ("frames", "rendered", "metadata", "lossy", "framesThumbnail", "a/b", "..", "", "x" * 33, "lossy\\n"):
        blob = layout.is_blob(layout.alternate_frame(name.replace("\\n", "\n"), 1)) and name != "frames"
        assert (not _errors(file, f"{{staticWadoConfig: {{alternateName: '{name}'}}}}")) == blob, name
