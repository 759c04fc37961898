"""Texts of a recipe that have a form of their own: names of milestones, and addresses."""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError


def check_alias(template: str) -> str:
    """Refuse a template for the names of milestones that can name nothing."""
    bare = re.sub(r"\{(updates|tokens|words|epoch)\}", "0", template)
    if bare == template or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", bare):
        raise PydanticCustomError(
            "alias",
            "expected letters, digits, '.', '_' or '-', and at least one of {updates}, {tokens}, {words} and "
            "{epoch}",
        )
    return template


def check_url(url: str) -> str:
    """Refuse what is no address, or holds a secret."""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^@?#\s]+", url):
        raise PydanticCustomError(
            "url",
            "expected an address such as file:///backup or s3://bucket/runs, without user, password or query "
            "(the file system's own environment variables hold those)",
        )
    return url
