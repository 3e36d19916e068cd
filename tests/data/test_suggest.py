import pytest

from tfp_glow._suggest import suggestion


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("digit", " Did you mean 'digits'?"),
        ("DIGITS", " Did you mean 'digits'?"),
        ("cifar-10", " Did you mean 'CIFAR10'?"),
        ("zebra", ""),
        ("", ""),
        (7, ""),
    ],
)
def test_names_the_closest_option_if_there_is_one(received, expected):
    assert suggestion(received, ["digits", "photos", "CIFAR10"]) == expected


def test_takes_options_that_can_be_read_once():
    assert suggestion("photo", iter(["digits", "photos"])) == " Did you mean 'photos'?"
