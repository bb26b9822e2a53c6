"""A model as the documents that `--json` prints: everything effective, nothing secret."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from otscert.cli import database
from otscert.cli.show import moment
from otscert.config import Config
from otscert.domain.admission import Model
from otscert.store.canaries import Mark
from otscert.store.transaction import Transaction

_DAY_S = 86_400
MARKS = {"rng.repeats": "its random number generator repeats"}


def model_views(config: Config, names: list[str]) -> list[dict[str, Any]]:
    """The models with what the database knows of their boxes; null there while there is no database."""
    if not database.exists(config):
        return [{**_settings(config, config.models[name]), "devices": None, "marks": None} for name in names]
    return database.read(
        config,
        lambda transaction: [{**_settings(config, config.models[name]), **_boxes(transaction, name)} for name in names],
    )


def model_fields(view: dict[str, Any]) -> dict[str, str]:
    """Return the same for people, by what it is about."""
    quotas, webhook, devices = view["quotas_per_day"], view["webhook"], view["devices"]
    return {
        "policies": ", then ".join(view["policies"]) or "none: nobody is let in",
        "tokens": str(view["tokens"]),
        "webhook": "none" if webhook is None else _webhook_text(webhook),
        "contribution": f"HQ's at least {view['min_contribution']}, the box's source at least {view['min_source']}",
        "first key": f"replaced after {view['rekey_after_days']} days unless HQ's contribution was sealed"
        if view["rekey_after_days"]
        else "kept until it is renewed",
        "RSA keys": "allowed" if view["allow_rsa"] else "refused",
        "names": f"{view['naming']}; the certificate of one that was taken back is "
        + ("revoked" if view["revoke_replaced"] else "left to expire"),
        "addresses": " ".join(view["networks"])
        + (", loopback too" if view["allow_loopback"] else "")
        + ("" if view["static_address"] else "; not published"),
        "a day": f"{quotas['admissions_per_address']} new boxes of an address, {quotas['admissions_per_model']} of the"
        f" model, {quotas['admissions_per_token']} of a token; {quotas['waiting_per_address']} waiting of an address;"
        f" {quotas['open_admissions_of_all_models']} by open in all models",
        "boxes": "there is no database yet" if devices is None else _boxes_text(devices),
        "marks": "none"
        if not view["marks"]
        else "; ".join(
            f"{mark['what']}, since {mark['since']}, seen at {', '.join(mark['devices']) or 'unknown boxes'}"
            f" (otscert model trust-rng {view['name']})"
            for mark in view["marks"]
        ),
    }


def _webhook_text(webhook: dict[str, Any]) -> str:
    networks = f", may be in {' '.join(webhook['networks'])}" if webhook["networks"] else ""
    trust = f", trusted by {webhook['trust_file']}" if webhook["trust_file"] else ""
    return f"{webhook['url']}{networks}{trust}"


def _boxes_text(devices: dict[str, Any]) -> str:
    kinds = [
        f"{kind}: " + ", ".join(f"{count} {value}" for value, count in devices[f"by_{kind}"].items())
        for kind in ("policy", "contribution", "source", "state")
        if devices[f"by_{kind}"]
    ]
    return "; ".join([str(devices["total"]), *kinds])


def _settings(config: Config, model: Model) -> dict[str, Any]:
    webhook = config.webhooks.get(model.name)
    return {
        "name": model.name,
        "policies": [policy.value for policy in model.policies],
        "tokens": len(config.tokens.get(model.name, ())),
        "webhook": {
            "url": _without_query(webhook.url),
            "networks": [str(network) for network in webhook.networks],
            "trust_file": str(webhook.trust_file) if webhook.trust_file else None,
        }
        if webhook
        else None,
        "min_contribution": model.min_contribution.value,
        "min_source": model.min_source.value,
        "rekey_after_days": model.rekey_after_s // _DAY_S,
        "allow_rsa": model.allow_rsa,
        "revoke_replaced": model.revoke_replaced,
        "naming": model.naming.value,
        "networks": [str(network) for network in model.addresses.networks],
        "allow_loopback": model.addresses.allow_loopback,
        "static_address": model.static_address,
        "quotas_per_day": {
            "admissions_per_address": model.admissions_per_address.count,
            "admissions_per_model": model.admissions_per_model.count,
            "admissions_per_token": model.admissions_per_token.count,
            "waiting_per_address": model.waiting_per_address.count,
            "open_admissions_of_all_models": config.open_admissions.count,
        },
    }


def _boxes(transaction: Transaction, name: str) -> dict[str, Any]:
    tally = transaction.devices.tally(name)
    counted: dict[str, Counter[str]] = {
        "policy": Counter(),
        "contribution": Counter(),
        "source": Counter(),
        "state": Counter(),
    }
    for group, count in tally:
        for kind, value in zip(counted, group, strict=True):
            counted[kind][value] += count
    return {
        "devices": {"total": sum(count for _, count in tally)}
        | {f"by_{kind}": dict(sorted(values.items())) for kind, values in counted.items()},
        "marks": [_mark(mark) for mark in transaction.canaries.marks(name)],
    }


def _mark(mark: Mark) -> dict[str, Any]:
    return {
        "kind": mark.kind,
        "what": MARKS.get(mark.kind, mark.kind),
        "since": moment(mark.at_s),
        "devices": sorted({mark.data[key] for key in ("device", "device_before") if key in mark.data}),
    }


def _without_query(url: str) -> str:
    """A query may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?..." if parts.query else "")
