"""Addresses in the place of pictures: pipelines ask those that are allowed."""

import xfm
from tests.data.web_server import serving
from tests.refusals import expect_refusal
from xfm.config.pipelines import UrlRules


def test_a_pipeline_fetches_what_is_allowed(models: dict) -> None:
    with serving() as server:
        for allowed, words in (
            (True, "not a public address"),
            (UrlRules(seconds=5, private=True), "not a JPEG, PNG, WebP"),
            (["*.example.org"], "127.0.0.1 is none of the hosts that are asked: *.example.org"),
        ):
            with expect_refusal(words):
                xfm.pipeline("embed", model=models[None], allow_urls=allowed)(image=f"{server}/picture")
