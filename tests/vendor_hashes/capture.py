"""Runs the vendors' Python libraries over `corpus.json`; see README.md.

Writes one file per library: for every value its normal form and the hash that the library makes of
it, or null where it refuses the value. The two are checked against each other.
"""
import hashlib
import json
import pathlib
from importlib import metadata

from facebook_business.adobjects.customaudience import CustomAudience
from facebook_business.adobjects.serverside.normalize import Normalize
from google.ads.datamanager_util.format import Encoding, Formatter

HERE = pathlib.Path(__file__).parent
CORPUS = json.loads((HERE / "corpus.json").read_text())


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def conversions(kind):
    """What Conversions API events of `facebook_business` do."""
    field = {"email": "em", "phone": "ph", "first_name": "fn", "last_name": "ln", "city": "ct",
             "state": "st", "zip": "zp", "country": "country", "date_of_birth": "db",
             "external_id": "external_id"}.get(kind)
    if field is None:
        return None
    return lambda text: (Normalize.normalize_field_skip_hashing(field, text),
                         Normalize.normalize_field(field, text))


def audience(kind):
    """What uploads of custom audiences of `facebook_business` do: keys by a schema."""
    if kind == "advertising_id":
        schema = CustomAudience.Schema.mobile_advertiser_id
        plain = lambda text: CustomAudience.format_params(schema, [text])["payload"]["data"][0]
        return lambda text: (plain(text), plain(text))
    key = {"email": "EMAIL", "phone": "PHONE", "first_name": "FN", "last_name": "LN", "city": "CT",
           "state": "ST", "zip": "ZIP", "country": "COUNTRY", "gender": "GEN",
           "external_id": "EXTERN_ID"}.get(kind)
    if key is None:
        return None

    def run(text):
        # As `format_params` does before it hashes.
        normal = CustomAudience.normalize_key(key, text.strip(" \t\r\n\0\x0B.").lower())
        made = CustomAudience.format_params([key], [[text]], is_raw=True)["payload"]["data"][0][0]
        return normal, made

    return run


FORMATTER = Formatter()


def google(kind):
    name = {"email": "email_address", "phone": "phone_number", "first_name": "given_name",
            "last_name": "family_name", "zip": "postal_code", "country": "region_code"}.get(kind)
    if name is None:
        return None

    def run(text):
        normal = getattr(FORMATTER, f"format_{name}")(text)
        process = getattr(FORMATTER, f"process_{name}")
        plain = kind in ("zip", "country")
        return normal, process(text) if plain else process(text, Encoding.HEX)

    return run


def said(run, text):
    try:
        normal, made = run(text)
    except (TypeError, ValueError):
        return None
    if not normal:
        # The hash of nothing.
        return None
    assert made in (normal, sha256(normal)), (normal, made)
    return [normal, made]


def capture(file, library, what, runs):
    values = {}
    for kind, cases in CORPUS.items():
        run = runs(kind)
        if run is not None:
            texts = [case if isinstance(case, str) else case[0] for case in cases]
            values[kind] = {text: said(run, text) for text in texts}
    lines = []
    for kind, cases in values.items():
        rows = [f"    {json.dumps(text)}: {json.dumps(case)}" for text, case in cases.items()]
        lines.append(f"  {json.dumps(kind)}: {{\n" + ",\n".join(rows) + "\n  }")
    head = {"library": library, "version": metadata.version(library), "what": what}
    head = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    (HERE / file).write_text("{\n" + ",\n".join(head + lines) + "\n}\n")


capture("facebook_business_events.json", "facebook_business",
        "adobjects.serverside.normalize.Normalize", conversions)
capture("facebook_business_audiences.json", "facebook_business",
        "CustomAudience.format_params", audience)
capture("google_ads_datamanager_util.json", "google-ads-datamanager-util",
        "google.ads.datamanager_util.format.Formatter", google)
