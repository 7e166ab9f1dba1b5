"""Text becomes a typed value, or an error that says what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.settings import SETTINGS, TcpAddress, UnixAddress, parse_admin
from prefork.settings.values import from_file, from_text


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("8K", 8192), ("8k", 8192), ("16M", 16 * 1024**2), ("1G", 1024**3), ("1T", 1024**4), ("0", 0)],
)
def test_sizes_take_suffixes_in_every_source(text: str, size: int) -> None:
    assert from_text(SETTINGS["max_body"], text) == size
    assert from_file(SETTINGS["max_body"], text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5M", "-1", "16MM", "16 M", "1e3", "0x10", "١", "2T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        from_text(SETTINGS["max_body"], text)


@given(st.integers(0, 1024**4))
def test_a_size_as_shown_reads_back(size: int) -> None:
    setting = SETTINGS["max_body"]
    assert from_text(setting, setting.show(size)) == size


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False), ("no", False)],
)
def test_switches_take_common_words(text: str, value: bool) -> None:
    assert from_text(SETTINGS["debug"], text) is value


@pytest.mark.parametrize(("name", "text"), [("debug", "maybe"), ("debug", ""), ("debug", "2"), ("preload", "none")])
def test_other_words_are_no_switch(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="must be true or false"):
        from_text(SETTINGS[name], text)


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400", "soon", "", "1,5"])
def test_a_time_is_a_finite_number(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds"):
        from_text(SETTINGS["drain_seconds"], text)


def test_a_time_may_be_a_whole_number_in_a_file() -> None:
    value = from_file(SETTINGS["drain_seconds"], 30)
    assert value == 30.0
    assert isinstance(value, float)


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), (" 4 ", 4), ("1", 1)])
def test_workers_are_a_number_or_auto(text: str, value: object) -> None:
    assert from_text(SETTINGS["workers"], text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1025", "many", "1.0", "1_0", "Auto"])
def test_other_numbers_of_workers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a whole number ≥ 1 and ≤ 1024, or auto"):
        from_text(SETTINGS["workers"], text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("workers", "4"), ("workers", True), ("workers", 2.5), ("debug", 1), ("debug", "true"), ("drain_seconds", "30")],
)
def test_files_have_types_and_text_is_no_number_there(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        from_file(SETTINGS[name], value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "must be a list of addresses, at least one"),
        ("127.0.0.1:8000", "must be a list of addresses"),
        ([8000], "must be a list of addresses"),
        (["localhost:80", "localhost"], "holds 'localhost': write HOST:PORT"),
        (["[::1]:80", "[0:0::1]:80"], r"names '\[0:0::1\]:80' twice"),
        (["unix:/a\nb"], "control characters"),
    ],
)
def test_addresses_are_a_list_each_valid_and_none_twice(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_file(SETTINGS["bind"], value)


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x1b[2J", "a\udcff"])
def test_a_text_has_no_control_characters(text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        from_text(SETTINGS["log_file"], text)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("forwarded_allow", "10.0.0.1/8", "bits beyond the mask; write 10.0.0.0/8"),
        ("forwarded_allow", "everyone", "write a network such as 10.0.0.0/8"),
        ("forwarded_allow", "10.0.0.0/8,10.0.0.0/8", "twice"),
        ("static", "assets", "write the path and the folder"),
        ("static", "assets=dir", "the path starts with a slash"),
        ("static", "/a%2f=dir", "written plainly"),
        ("static", "/a=one,/a=one", "twice"),
        ("tls_cert", "a.pem,,b.pem", "holds an empty text"),
    ],
)
def test_each_item_of_a_list_is_read(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_text(SETTINGS[name], text)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "::1", "unix", "192.0.2.7", "10.0.0.0/8,fd00::/8,unix"])
def test_networks_are_taken(text: str) -> None:
    assert from_text(SETTINGS["forwarded_allow"], text) == text.split(",")


@pytest.mark.parametrize("text", ["2:8", "1:1", "1:1024"])
def test_workers_may_be_a_range(text: str) -> None:
    assert from_text(SETTINGS["workers"], text) == text


@pytest.mark.parametrize("text", ["8:2", "0:2", "1:1025", ":2", "2:", "1:2:3", "many"])
def test_a_range_of_workers_has_two_ends_in_order(text: str) -> None:
    with pytest.raises(ValueError, match="MIN:MAX"):
        from_text(SETTINGS["workers"], text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", TcpAddress("127.0.0.1", 9100)),
        ("0.0.0.0:9100", TcpAddress("0.0.0.0", 9100)),
        ("[::1]:0", TcpAddress("::1", 0)),
        ("unix:/run/admin.sock", UnixAddress("/run/admin.sock")),
    ],
)
def test_the_admin_server_is_on_this_machine_unless_told(text: str, address: object) -> None:
    assert from_text(SETTINGS["admin"], text) == text
    assert parse_admin(text) == address


@pytest.mark.parametrize("text", ["localhost", "fd://3", "99999", "http://a:1"])
def test_the_admin_server_needs_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="PORT, HOST:PORT or unix"):
        from_text(SETTINGS["admin"], text)


@pytest.mark.parametrize("token", ["passwörter sind lang", "0123456789abcdef "])
def test_a_token_that_no_client_could_send_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="must be plain ASCII, without a space at its ends"):
        from_file(SETTINGS["admin_token"], token)
    assert from_file(SETTINGS["admin_token"], "a token of the test") == "a token of the test"
