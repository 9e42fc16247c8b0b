"""What says of itself that it is a secret, in each of the places where that is looked for."""

import pytest

from understudy.actors.secrecy import SECRET_FIELD, SECRET_HEADER, SECRET_SENTENCE


@pytest.mark.parametrize("name", ["Password", "client_secret", "accessToken", "api_key", "X-Api-Key", "credentials"])
def test_what_is_called_a_secret_is_one_everywhere(name: str) -> None:
    assert all(words.search(name) for words in (SECRET_SENTENCE, SECRET_FIELD, SECRET_HEADER))


@pytest.mark.parametrize("name", ["pass", "Authorization", "cookie", "private_key"])
def test_more_names_of_fields_than_words_of_a_sentence_say_it(name: str) -> None:
    assert not SECRET_SENTENCE.search(name)
    assert SECRET_FIELD.search(name)
    assert SECRET_HEADER.search(name)


@pytest.mark.parametrize("name", ["X-Auth", "key", "X-Session-Id", "signature"])
def test_a_header_is_withheld_sooner_than_a_field(name: str) -> None:
    assert not SECRET_FIELD.search(name)
    assert SECRET_HEADER.search(name)


@pytest.mark.parametrize("text", ["The pin is 1234", "my card number", "the passcode of the door"])
def test_a_sentence_may_tell_a_secret_in_words_of_its_own(text: str) -> None:
    assert SECRET_SENTENCE.search(text)


@pytest.mark.parametrize("text", ["The opinion", "accept", "content-type", "title", "x-request-id"])
def test_most_things_are_no_secret(text: str) -> None:
    assert not any(words.search(text) for words in (SECRET_SENTENCE, SECRET_FIELD, SECRET_HEADER))
